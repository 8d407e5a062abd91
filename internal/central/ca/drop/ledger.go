package drop

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Entry is one request that was given out: a line of the ledger, and of the
// manifest beside the requests.
type Entry struct {
	RequestID       string    `json:"requestId"`
	File            string    `json:"file"`
	CSRSHA256       string    `json:"csrSha256"`
	PublicKeySHA256 string    `json:"publicKeySha256"`
	Product         string    `json:"product"`
	ValidityYears   int       `json:"validityYears"`
	Subject         string    `json:"subject"`
	WrittenAt       time.Time `json:"writtenAt"`
}

// ledger remembers every request that was ever given out, in a file that nobody
// else takes away. A request is in it before anybody can see it, so what is not
// in it never reached the CA.
type ledger struct {
	path  string
	file  *os.File // nil when only read
	size  int64
	byID  map[string]Entry
	byKey map[string]Entry
}

// readLedger reads the file. A last line that was torn by a power cut is left
// out: its request was not given out yet.
func readLedger(path string) (*ledger, error) {
	l := &ledger{path: path, byID: make(map[string]Entry), byKey: make(map[string]Entry)}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the ledger of requests: %w", err)
	}
	for n := 1; ; n++ {
		line, rest, whole := bytes.Cut(data, []byte("\n"))
		if !whole {
			return l, nil
		}
		var e Entry
		if err := json.Unmarshal(line, &e); err != nil || e.RequestID == "" || e.PublicKeySHA256 == "" {
			return nil, fmt.Errorf("%s, line %d is not one of the ledger: restore the file", path, n)
		}
		l.know(e)
		l.size += int64(len(line)) + 1
		data = rest
	}
}

// openLedger reads the file and goes on writing it.
func openLedger(path string) (*ledger, error) {
	l, err := readLedger(path)
	if err != nil {
		return nil, err
	}
	if l.file, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, fmt.Errorf("open the ledger of requests: %w", err)
	}
	if err := errors.Join(l.file.Truncate(l.size), syncDir(filepath.Dir(path))); err != nil {
		return nil, errors.Join(fmt.Errorf("open the ledger of requests: %w", err), l.file.Close())
	}
	return l, nil
}

func (l *ledger) know(e Entry) {
	l.byID[e.RequestID], l.byKey[e.PublicKeySHA256] = e, e
}

// add writes an entry; it is on disk when this returns nil, and not there otherwise.
func (l *ledger) add(e Entry) error {
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("write the ledger of requests: %w", err)
	}
	line = append(line, '\n')
	_, err = l.file.WriteAt(line, l.size)
	if err = errors.Join(err, l.file.Sync()); err != nil {
		return errors.Join(fmt.Errorf("write the ledger of requests: %w", err), l.file.Truncate(l.size))
	}
	l.size += int64(len(line))
	l.know(e)
	return nil
}
