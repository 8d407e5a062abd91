package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/console"
	"github.com/usbkeyd/usbkeyd/internal/mailer/cups"
	"github.com/usbkeyd/usbkeyd/provision"
)

// labelDesk is what the operator's page can have done about labels.
type labelDesk struct {
	*labels
	journal *provision.Journal
	changed func() // tells the agent
	log     *slog.Logger
}

// Print implements console.Labels. Of a serial that two modules have had the last key counts.
func (d *labelDesk) Print(ctx context.Context, token, by string) console.LabelAnswer {
	found, err := d.journal.Labelled(token)
	found = keysOn(found, token)
	if err == nil && len(found) == 0 {
		return console.LabelNoKey
	}
	var says string
	if err == nil {
		rec := found[len(found)-1]
		if says, err = d.print(ctx, rec); err == nil {
			err = d.journal.LabelSent(rec, by, says, time.Now())
		}
	}
	d.changed()
	switch {
	case errors.Is(err, cups.ErrNotSent):
		d.log.Warn("label is not printed", "token", token, "by", by, "error", err)
		return console.LabelNotSent
	case err != nil:
		d.log.Error("label", "token", token, "by", by, "error", err)
		return console.LabelFailed
	}
	d.log.Info("label printed", "token", token, "by", by, "says", says)
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
func (d *labelDesk) Confirm(token, by string) console.LabelAnswer {
	_, err := confirmLabel(d.journal, token, by, time.Now())
	d.changed()
	var refused *provision.LabelRefusal
	switch {
	case errors.As(err, &refused):
		return console.LabelAnswer(refused.Fault)
	case err != nil:
		d.log.Error("label", "token", token, "by", by, "error", err)
		return console.LabelFailed
	}
	return console.LabelStuck
}
