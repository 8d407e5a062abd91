package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/provision"
)

func newEvidenceExport(s streams, load func() (*config.Station, error)) *cobra.Command {
	var file string
	c := &cobra.Command{
		Use: "export UNIT --out FILE", Short: "Write the signed statement about a finished key to a file",
		Long: `Write the signed statement about a finished key to a file: CMS SignedData in DER. The
daemon makes it once the central server has the unit's end in its copy of the record;
before that there is none. The file is never overwritten.`,
		Args: exactArgs(1, "the id of a unit"),
		RunE: func(_ *cobra.Command, args []string) error {
			if file == "" {
				return &codeError{exitUsage, errors.New("evidence export needs --out FILE")}
			}
			station, err := load()
			if err != nil {
				return err
			}
			der, err := statement(station, args[0])
			if err != nil {
				return err
			}
			if err := writeNew(file, der); err != nil {
				return err
			}
			_, err = s.words.Fprintf(s.out, "The statement about %s is in %s.\n", args[0], file)
			return err
		},
	}
	c.Flags().StringVar(&file, "out", "", "`file` to write, such as UNIT.p7s")
	return c
}

// statement reads a unit's statement from the journal.
func statement(station *config.Station, unitID string) (der []byte, err error) {
	var job string
	there, err := besideDaemon(station, func(j *provision.Journal) (err error) {
		job, der, err = j.Statement(unitID)
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case !there:
		return nil, fmt.Errorf("this station has no journal yet: %s", journalPath(station.StateDir))
	case job == "":
		return nil, fmt.Errorf("no key was finished here for unit %q; usbkeyd jobs list shows what was done", unitID)
	case der == nil:
		return nil, fmt.Errorf("there is no statement about %s yet: it is made when the central server has the record of it; let usbkeyd run until then", unitID)
	case len(der) == 0:
		return nil, fmt.Errorf("the key of %s was finished before statements were made, so there is none", unitID)
	}
	return der, nil
}

// writeNew writes a file that must not be there yet.
func writeNew(path string, data []byte) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists already and is not overwritten", path)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}
