package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/output"
	"github.com/usbkeyd/usbkeyd/internal/packing"
	"github.com/usbkeyd/usbkeyd/internal/wording"
	"github.com/usbkeyd/usbkeyd/provision"
)

// packingTable is the table over a journal, as the configuration has it.
func packingTable(station *config.Station, j *provision.Journal) (provision.Table, error) {
	grammar, err := packing.NewGrammar(station.Packing.Waybills)
	if err != nil {
		return provision.Table{}, &config.FieldError{Field: "packing.waybills", Err: err}
	}
	t := provision.Table{Journal: j, Grammar: grammar, Verify: packing.Policy(station.Packing.Verify), Now: time.Now}
	note, err := j.Anchor()
	if err != nil || note == nil {
		return t, err
	}
	origin, keys, err := recordOf(station)
	if err != nil {
		return t, err
	}
	c, _, err := keys.OpenKept(note, origin)
	t.Anchored = c.Size
	return t, err
}

// tables is packingTable by the journal.
func tables(station *config.Station) func(*provision.Journal) (provision.Table, error) {
	return func(j *provision.Journal) (provision.Table, error) { return packingTable(station, j) }
}

// atTable opens the table beside a daemon that may be running, for what changes it.
func atTable(load func() (*config.Station, error), act func(*config.Station, provision.Table) error) (err error) {
	station, err := load()
	if err != nil {
		return err
	}
	exists, err := provision.JournalExists(journalPath(station.StateDir))
	if err == nil && !exists {
		err = errors.New("this station has no journal yet, so there is nothing to pack")
	}
	if err != nil {
		return err
	}
	j, err := provision.OpenJournal(journalPath(station.StateDir))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	t, err := packingTable(station, j)
	if err != nil {
		return err
	}
	return act(station, t)
}

// besideTable reads the table.
func besideTable(load func() (*config.Station, error), read func(provision.Table) error) error {
	station, err := load()
	if err != nil {
		return err
	}
	there, err := besideDaemon(station, func(j *provision.Journal) error {
		t, err := packingTable(station, j)
		if err != nil {
			return err
		}
		return read(t)
	})
	if err == nil && !there {
		err = errors.New("this station has no journal yet, so there is nothing to pack")
	}
	return err
}

// parcelView is a parcel as the pack commands print it.
type parcelView struct {
	Parcel   int64         `json:"parcel"`
	OrderID  string        `json:"orderId"`
	State    string        `json:"state"`
	Units    []packedUnit  `json:"units"`
	LeftOut  []string      `json:"leftOut,omitempty"`
	Waybill  string        `json:"waybill,omitempty"`
	ClosedBy string        `json:"closedBy,omitempty"`
	ClosedAt *time.Time    `json:"closedAt,omitempty"`
	Left     []string      `json:"left,omitempty"`
	Refused  []string      `json:"refused,omitempty"`
	keys     []packing.Key // of a parcel whose order is not looked at
}

// packedUnit is one unit of a parcel's order.
type packedUnit struct {
	packing.Unit
	Scanned  bool   `json:"scanned"`
	Verified bool   `json:"verified"`
	By       string `json:"by,omitempty"`
}

// What a parcel is to whoever looks at the list.
const (
	parcelOpen    = "open"
	parcelClosed  = "closed"  // the server has not answered about every unit
	parcelShipped = "shipped" // it has taken all of them
	parcelRefused = "refused" // somebody has to look at it
)

// viewOf is the parcel that is open, or was a moment ago.
func viewOf(d packing.Desk) parcelView {
	p := d.Parcel
	v := parcelView{Parcel: p.N, OrderID: p.Order, State: parcelOpen, LeftOut: p.LeftOut, Waybill: p.Waybill, keys: p.Keys, Left: inEnglish(d.Left())}
	v.of(d.Units)
	return v
}

func inEnglish(all []packing.Sentence) (out []string) {
	for _, s := range all {
		out = append(out, s.String())
	}
	return out
}

func (v *parcelView) of(units []packing.Unit) {
	v.Units = []packedUnit{}
	for _, u := range units {
		row := packedUnit{Unit: u}
		for _, k := range v.keys {
			if k.Unit == u.ID {
				row.Scanned, row.Verified, row.By = true, k.Verified, k.By
				row.Job, row.Token = k.Job, k.Token
			}
		}
		v.Units = append(v.Units, row)
	}
}

func (v parcelView) print(s streams, format output.Format) error {
	table := output.Rows{Header: []string{"KEY", "UNIT", "TOKEN SERIAL", "STATE", "SCANNED BY", "VERIFIED"}, Empty: "No keys."}
	for _, u := range v.Units {
		verified := ""
		if u.Verified {
			verified = s.words.Name("yes", "yes")
		}
		table.Rows = append(table.Rows, []string{fmt.Sprintf("%d/%d", u.Sequence, u.Of), u.ID, u.Token, s.words.Name("standing", string(u.Standing)), u.By, verified})
	}
	if format == output.JSON {
		return s.print(format, table, v)
	}
	if _, err := s.words.Fprintf(s.out, "Parcel %d, order %s: %s%s\n", v.Parcel, v.OrderID, s.words.Name("parcel", v.State), waybillOf(s.words, v.Waybill)); err != nil {
		return err
	}
	if err := s.print(format, table, v); err != nil {
		return err
	}
	return sentences(s, append(v.Left, v.Refused...))
}

func sentences(s streams, lines []string) error {
	for _, line := range lines {
		if _, err := fmt.Fprintln(s.out, s.words.Told(line+".")); err != nil {
			return err
		}
	}
	return nil
}

func waybillOf(words wording.Words, number string) string {
	if number == "" {
		return ""
	}
	return words.Sprintf(", waybill %s", number)
}

// tableAct is what a command does at the table.
type tableAct func(t provision.Table, code, by string) (packing.Desk, packing.Act, error)

// actCommand makes the command of an act.
func actCommand(s streams, load func() (*config.Station, error), c *cobra.Command, act tableAct) *cobra.Command {
	var by string
	var format output.Format
	c.RunE = func(_ *cobra.Command, args []string) error {
		if err := checkBy(by); err != nil {
			return err
		}
		code := ""
		if len(args) > 0 {
			code = args[0]
		}
		return atTable(load, func(_ *config.Station, t provision.Table) error {
			d, a, err := act(t, code, by)
			if err != nil {
				return err
			}
			return answer(s, format, d, d.Done(a).String())
		})
	}
	byFlag(c, &by)
	output.AddFlag(c.Flags(), &format)
	return c
}

// answer says what was done, and what is left to do.
func answer(s streams, format output.Format, d packing.Desk, said string) error {
	if format == output.JSON {
		return s.print(format, output.Rows{}, struct {
			Done   string      `json:"done"`
			Parcel *parcelView `json:"parcel"` // null when none is open
		}{said, openView(d)})
	}
	if _, err := fmt.Fprintln(s.out, s.words.Told(said)); err != nil {
		return err
	}
	if v := openView(d); v != nil {
		return sentences(s, v.Left)
	}
	return nil
}

func openView(d packing.Desk) *parcelView {
	if !d.Parcel.Open() {
		return nil
	}
	v := viewOf(d)
	return &v
}
