package floor

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/console"
	"github.com/usbkeyd/usbkeyd/internal/mailer/cups"
	"github.com/usbkeyd/usbkeyd/provision"
)

// Labels is what the operator's page can have done about labels.
type Labels struct {
	Journal *provision.Journal
	// PrintLabels prints the labels of keys, in one go, and says what is known of them. It fails
	// with cups.ErrNotSent when nothing was handed to the printer.
	PrintLabels func(ctx context.Context, records ...*provision.Record) (says string, err error)
	Changed     func() // tells the agent; Page.Begin sets it
	Log         *slog.Logger
}

// Print implements console.Labels. Of a serial that two modules have had the last key counts.
func (d *Labels) Print(ctx context.Context, token, by string) console.LabelAnswer {
	found, err := d.Journal.Labelled(token)
	found = keysOn(found, token)
	if err == nil && len(found) == 0 {
		return console.LabelNoKey
	}
	var says string
	if err == nil {
		rec := found[len(found)-1]
		if says, err = d.PrintLabels(ctx, rec); err == nil {
			err = d.Journal.LabelSent(rec, by, says, time.Now())
		}
	}
	d.Changed()
	switch {
	case errors.Is(err, cups.ErrNotSent):
		d.Log.Warn("label is not printed", "token", token, "by", by, "error", err)
		return console.LabelNotSent
	case err != nil:
		d.Log.Error("label", "token", token, "by", by, "error", err)
		return console.LabelFailed
	}
	d.Log.Info("label printed", "token", token, "by", by, "says", says)
	return console.LabelPrinted
}

// keysOn are those of the keys that are on the token with a serial.
func keysOn(found []*provision.Record, serial string) (out []*provision.Record) {
	for _, r := range found {
		if string(r.Token.Identity.Serial) == serial {
			out = append(out, r)
		}
	}
	return out
}

// Confirm implements console.Labels.
func (d *Labels) Confirm(token, by string) console.LabelAnswer {
	_, err := ConfirmLabel(d.Journal, token, by, time.Now())
	d.Changed()
	var refused *provision.LabelRefusal
	switch {
	case errors.As(err, &refused):
		return console.LabelAnswer(refused.Fault)
	case err != nil:
		d.Log.Error("label", "token", token, "by", by, "error", err)
		return console.LabelFailed
	}
	return console.LabelStuck
}

// lookPatience is how long a scan waits for the other bays to be looked at: mostly that is a
// second away, and longestRest of package agent where a token is at work.
const lookPatience = 6 * time.Second

// ConfirmLabel is the journal's, but waits a while for the look that it wants.
func ConfirmLabel(j *provision.Journal, serial, by string, now time.Time) (*provision.Record, error) {
	for end := now.Add(lookPatience); ; now = time.Now() {
		rec, err := j.ConfirmLabel(serial, by, now)
		var refused *provision.LabelRefusal
		if !errors.As(err, &refused) || refused.Fault != provision.LabelUnseen || now.After(end) {
			return rec, err
		}
		time.Sleep(200 * time.Millisecond)
	}
}
