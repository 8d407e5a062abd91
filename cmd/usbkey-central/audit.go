package main

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/audit"
	"github.com/usbkeyd/usbkeyd/internal/central/adminclient"
	"github.com/usbkeyd/usbkeyd/internal/central/keyfile"
)

// recordChoice says which records of which station a command is about.
type recordChoice struct{ station, installation string }

func (r *recordChoice) addFlags(c *cobra.Command) {
	c.Flags().StringVar(&r.station, "station", "", "`name` of the station")
	c.Flags().StringVar(&r.installation, "installation", "", "only the record of the installation with this `id`")
}

// storedRecord is a record as the server has it.
type storedRecord struct {
	api.Record
	origin string
	rows   audit.Memory
}

// read fetches the records that were chosen, with all entries.
func (r *recordChoice) read(ctx context.Context, c *cobra.Command, client *adminclient.Client) ([]*storedRecord, error) {
	if r.station == "" {
		return nil, usagef("%s needs --station NAME", c.CommandPath())
	}
	records, err := client.Records(ctx, r.station)
	if err != nil {
		return nil, err
	}
	if r.installation != "" {
		records = slices.DeleteFunc(records, func(rec api.Record) bool { return rec.InstanceId != r.installation })
		if len(records) == 0 {
			return nil, fmt.Errorf("station %s has no installation %s on record", r.station, r.installation)
		}
	}
	var out []*storedRecord
	for _, rec := range records {
		lines, err := client.RecordEntries(ctx, r.station, rec.InstanceId)
		if err != nil {
			return nil, err
		}
		stored := &storedRecord{Record: rec, origin: audit.Origin(r.station, rec.InstanceId)}
		for _, line := range lines {
			stored.rows.Rows = append(stored.rows.Rows, audit.Row{Line: []byte(line)})
		}
		out = append(out, stored)
	}
	return out, nil
}

// entries are the entries of a record that a condition selects.
func (r *storedRecord) entries(wanted func(audit.Entry) bool) ([]audit.Entry, error) {
	var out []audit.Entry
	for n, row := range r.rows.Rows {
		e, err := audit.Decode(row.Line)
		if err != nil {
			return nil, &audit.BrokenError{Index: int64(n), What: "its line is not one", Err: err}
		}
		if wanted(e) {
			out = append(out, e)
		}
	}
	return out, nil
}

// verify computes every hash of a record from its entries and compares it with the
// checkpoint that station and server have signed, and with one that was kept elsewhere.
func (r *storedRecord) verify(station string, central []crypto.PublicKey, against string) error {
	if r.ForkedAt != nil {
		return &audit.BrokenError{Index: r.Size, What: "what the station sent does not go on from here"}
	}
	public, err := x509.ParsePKIXPublicKey(r.StationKey)
	if err != nil {
		return fmt.Errorf("key of station %s: %w", station, err)
	}
	keys := audit.Keys{Station: station, StationKey: public, Central: central}
	c, err := keys.OpenAnchor([]byte(r.Checkpoint), r.origin)
	if err != nil {
		return &audit.BrokenError{Index: r.Size, What: "its checkpoint cannot be used", Err: err}
	}
	known := []audit.Checkpoint{c}
	if against != "" {
		signed, err := os.ReadFile(against)
		if err != nil {
			return fmt.Errorf("--against: %w", err)
		}
		c, _, err := keys.Open(signed, r.origin)
		if err != nil {
			return fmt.Errorf("--against %s: %w", against, err)
		}
		known = append(known, c)
	}
	_, err = audit.Verify(r.rows.All(), known...)
	return err
}

// centralKeys are the keys in a file of certificates.
func centralKeys(path string) (out []crypto.PublicKey, err error) {
	certificates, err := keyfile.ReadCertificates(path)
	if err != nil {
		return nil, fmt.Errorf("--trust: %w", err)
	}
	for _, c := range certificates {
		out = append(out, c.PublicKey)
	}
	return out, nil
}
