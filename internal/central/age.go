package central

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/usbkeyd/usbkeyd/internal/central/keyfile"
	"github.com/usbkeyd/usbkeyd/internal/central/store"
	"github.com/usbkeyd/usbkeyd/internal/crashpoint"
)

// AgeFile is the name of the file in the data directory that says how far the store
// had come. It must not be restored together with the store.
const AgeFile = "store-age"

// What a server says that does not start, or stops.
var (
	errOlder = fmt.Errorf("%w: it was restored from a backup, and keys may have been given out and certificates issued since. "+
		"Nothing is given out now. Stop all servers on this store and run \"usbkey-central recover\" with the settings of \"serve\"", store.ErrOlder)
	errRecovering = fmt.Errorf("%w: run \"usbkey-central recover\" again with the settings of \"serve\", to its end", store.ErrRecovering)
	errNoAge      = errors.New("this folder's " + AgeFile + " is missing, and the store in it is not new: it was restored from a backup or moved by hand. " +
		"Run \"usbkey-central recover\" with the settings of \"serve\"")
)

// readAge reads the last mark of the store that this server saw; there is none at a
// server's first start.
func readAge(dir string) (mark int64, there bool, err error) {
	path := filepath.Join(dir, AgeFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("read how far the store had come: %w", err)
	}
	mark, err = strconv.ParseInt(strings.TrimSuffix(string(text), "\n"), 10, 64)
	if err != nil || mark < 0 {
		return 0, false, fmt.Errorf("%s does not hold one number: if nothing was restored here, remove nothing and ask for help; else run \"usbkey-central recover --folder-too\"", path)
	}
	return mark, true, nil
}

func writeAge(dir string, mark int64) error {
	text := strconv.AppendInt(nil, mark, 10)
	return keyfile.ReplaceAs(crashpoint.AgeFile, filepath.Join(dir, AgeFile), keyfile.File{Content: append(text, '\n'), Secret: true})
}

// checkAge refuses a store that is older than this server knows, and makes it older
// than every backup of it so far.
func (s *Server) checkAge(ctx context.Context) error {
	known, there, err := readAge(s.cfg.DataDir)
	if err != nil {
		return err
	}
	if !there {
		age, err := s.store.Age(ctx)
		if err != nil {
			return err
		}
		if age.Recovering {
			return errRecovering
		}
		// Of a store that others share, a new server has no file.
		if age.Mark > 0 && !s.store.Shared() {
			return errNoAge
		}
		known = age.Mark
		if err := writeAge(s.cfg.DataDir, known); err != nil { // first, or a crash now would look like a lost file
			return err
		}
	}
	return s.grow(ctx, known)
}

// grow notes in the store and then beside it that it has come further.
func (s *Server) grow(ctx context.Context, known int64) error {
	mark, err := s.store.Grow(ctx, known)
	switch {
	case errors.Is(err, store.ErrOlder):
		return errOlder
	case errors.Is(err, store.ErrRecovering):
		return errRecovering
	case err != nil:
		return err
	}
	return writeAge(s.cfg.DataDir, mark)
}

// keepAge grows if something changed. It ends the server when the store was set back
// beneath it.
func (s *Server) keepAge(ctx context.Context) error {
	s.ageing.Lock() // there is one file, and who stops the server need not be who sweeps
	defer s.ageing.Unlock()
	if !s.store.Changed() {
		return nil
	}
	err := s.grow(ctx, 0)
	if errors.Is(err, store.ErrOlder) || errors.Is(err, store.ErrRecovering) {
		select {
		case s.failed <- err:
		default: // it is ending already
		}
	}
	return err
}
