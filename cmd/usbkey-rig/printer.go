package main

import (
	"errors"
	"os"

	"github.com/usbkeyd/usbkeyd/internal/mailer/cupstest"
)

// printer is a CUPS of its own with one queue, all of it in memory, and what programs
// have to know of it.
type printer struct {
	Name   string `json:"name"`
	Server string `json:"server"`
	Spool  string `json:"spool"`
	// Sheet is the file with the last sheet, whole once CUPS says that it is completed.
	Sheet string `json:"sheet"`

	cupsd  *cupstest.Daemon
	folder string
}

func openPrinter() (p *printer, err error) {
	p = &printer{Name: "letters"}
	if p.folder, err = os.MkdirTemp("/dev/shm", "usbkey-rig-"); err != nil {
		return nil, err
	}
	if p.cupsd, err = cupstest.Launch(p.folder, p.folder, true); err != nil {
		return nil, errors.Join(err, os.RemoveAll(p.folder))
	}
	p.Server, p.Spool = p.cupsd.Socket, p.cupsd.Spool
	if p.Sheet, err = p.cupsd.Paper(p.Name, cupstest.PDF); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

func (p *printer) close() error {
	p.cupsd.Close()
	return os.RemoveAll(p.folder)
}
