package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/audit"
	"github.com/usbkeyd/usbkeyd/internal/output"
	"github.com/usbkeyd/usbkeyd/provision"
)

// recordOf says whose record a journal holds, and whose signatures count for it.
func recordOf(station *config.Station) (origin string, keys audit.Keys, err error) {
	if err := station.Enrolled(); err != nil {
		return "", keys, err
	}
	own, err := readCertificates("central.certificate", station.Central.Certificate)
	if err != nil {
		return "", keys, err
	}
	leaf := own[0]
	roots, err := readCertificates("central.trust", station.Central.Trust)
	if err != nil {
		return "", keys, err
	}
	instance, err := os.ReadFile(filepath.Join(station.StateDir, "instance-id"))
	if err != nil {
		return "", keys, fmt.Errorf("installation id: %w", err)
	}
	name := leaf.Subject.CommonName
	return audit.Origin(name, strings.TrimSpace(string(instance))), audit.Keys{Station: name, StationKey: leaf.PublicKey, Central: publicKeys(roots)}, nil
}

// withRecord reads the journal, which must be there, beside a daemon that may be running.
func withRecord(station *config.Station, read func(*provision.Journal) error) (err error) {
	there, err := besideDaemon(station, read)
	if err == nil && !there {
		err = fmt.Errorf("there is no journal in %s, and so no record yet", station.StateDir)
	}
	return err
}

// entriesOf are the entries that a condition selects.
func entriesOf(j *provision.Journal, wanted func(audit.Entry) bool) ([]audit.Entry, error) {
	base, err := j.RecordBase()
	if err != nil {
		return nil, err
	}
	out, index := []audit.Entry{}, base.Size
	for row, err := range j.Record() {
		if err != nil {
			return nil, err
		}
		e, err := audit.Decode(row.Line)
		if err != nil {
			return nil, &audit.BrokenError{Index: index, What: "its line is not one", Err: err}
		}
		index++
		if wanted(e) {
			out = append(out, e)
		}
	}
	return out, nil
}

// entryTable is a table of entries.
func entryTable(entries []audit.Entry) output.Rows {
	table := output.Rows{Header: []string{"INDEX", "TIME", "KIND", "UNIT", "STEP", "EPOCH", "TOKEN SERIAL", "CODE"}, Empty: "Nothing of that is on record."}
	for _, e := range entries {
		epoch := ""
		if e.Epoch > 0 {
			epoch = strconv.FormatInt(e.Epoch, 10)
		}
		table.Rows = append(table.Rows, []string{
			strconv.FormatInt(e.Index, 10), e.Time.Local().Format(time.RFC3339), string(e.Kind), e.Unit, e.Step, epoch, e.TokenSerial, e.Code,
		})
	}
	return table
}
