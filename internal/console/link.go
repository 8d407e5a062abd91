package console

import (
	"errors"
	"fmt"
	"html/template"
	"os"
	"path/filepath"
)

// linkPage leads on to a link. The browser is handed its path, so that the secret is in no
// argument list, where every account of the machine could read it (proc(5), cmdline).
const linkPage = `<!DOCTYPE html>
<html lang="zh-CN"><head><meta charset="utf-8"><meta name="referrer" content="no-referrer"><title>usbkeyd</title>
<meta http-equiv="refresh" content="0; url={{.}}"></head>
<body><p><a href="{{.}}">usbkeyd</a></p></body></html>
`

// WriteLink writes a page that leads to a link into a folder, which it makes if need be,
// and returns its path. Only this account can read it; the one of before is replaced.
func WriteLink(folder, link string) (path string, err error) {
	page, err := template.New("").Parse(linkPage)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", fmt.Errorf("folder for the link: %w", err)
	}
	f, err := os.CreateTemp(folder, "console-*.html") // mode 0600
	if err != nil {
		return "", fmt.Errorf("file for the link: %w", err)
	}
	path = filepath.Join(folder, "console.html")
	err = errors.Join(page.Execute(f, link), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("file for the link: %w", err), os.Remove(f.Name()))
	}
	return path, nil
}
