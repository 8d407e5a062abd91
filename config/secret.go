package config

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"unicode"
	"unicode/utf8"
)

// Size limits in bytes.
const (
	maxSecret  = 4096
	maxKeyFile = 64 << 10
)

// ReadSecretFile reads a secret that is one line of printable text, such as a
// PIN or a token of enrolment. The file must be a regular file, on Unix readable
// by its owner alone. One line end at the end is taken off and nothing else is:
// an empty file, further lines or blanks around the text are errors, never a
// shorter secret. Every error is ErrSecretFile and names the file, never its content.
func ReadSecretFile(path string) ([]byte, error) {
	data, err := readPrivate(path, maxSecret)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSecretFile, err)
	}
	line := bytes.TrimSuffix(bytes.TrimSuffix(data, []byte("\n")), []byte("\r"))
	bad := func(why string) ([]byte, error) {
		clear(data)
		return nil, fmt.Errorf("%w: %s: %s", ErrSecretFile, path, why)
	}
	switch {
	case len(line) == 0:
		return bad("it is empty: the secret must stand in it, on one line")
	case bytes.ContainsAny(line, "\r\n"):
		return bad("it has more than one line: the secret alone must stand in it")
	case !utf8.Valid(line) || bytes.ContainsFunc(line, func(c rune) bool { return !unicode.IsPrint(c) }):
		return bad("it has characters that do not print: leave them out")
	case len(bytes.TrimSpace(line)) != len(line):
		return bad("it has blanks before or after the text: leave them out")
	}
	return line, nil
}

// ReadKeyFile reads a private key's file, up to 64 KiB and readable by its owner alone
// on Unix. Every error is ErrSecretFile and names the file, never its content.
func ReadKeyFile(path string) ([]byte, error) {
	data, err := readPrivate(path, maxKeyFile)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSecretFile, err)
	}
	return data, nil
}

// readPrivate reads a whole file after checking who may read it, on the open file
// so that nothing can change in between.
func readPrivate(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if err := checkPrivate(info); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		clear(data)
		return nil, fmt.Errorf("%s has more than %d bytes", path, limit)
	}
	return data, nil
}

func checkPrivate(info os.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("not a regular file")
	}
	return checkMode(info)
}
