package cryptoki

import (
	"bytes"
	"fmt"
	"io"
	"os"
)

// checkContent says what keeps a file from being a module, "" when nothing is
// seen. It looks at the first bytes; what the system's loader wants is in
// checkFormat, which comes before the loader because that one faults on a file
// that was cut short.
func checkContent(path string) string {
	head, err := readHead(path)
	switch {
	case err != nil:
		return fmt.Sprintf("it cannot be read: %s", err)
	case len(head) == 0:
		return "it is empty"
	case bytes.HasPrefix(head, []byte("#!")):
		return "it is a script, not a library"
	case !bytes.ContainsAny(head, "\x00"):
		return "it is a text file, not a library"
	}
	return checkFormat(path)
}

func readHead(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	const enough = 512
	return io.ReadAll(io.LimitReader(f, enough))
}
