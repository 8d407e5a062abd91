package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/agent"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/output"
	"github.com/usbkeyd/usbkeyd/pkcs11/worker"
)

// watchInterval is the time between two looks; insert and pull are seen within twice that.
const watchInterval = 400 * time.Millisecond

// tokenEvent is one thing that happened on the hub.
type tokenEvent struct {
	At    time.Time `json:"at"`
	Event string    `json:"event"` // present, inserted, removed, fault, note, alarm, alarm-ended
	tokenRow
	Error string `json:"error,omitempty"`
	Note  *note  `json:"note,omitempty"`
	// Alarms are those that stand now; of the last two events only.
	Alarms []agent.Alarm `json:"alarms,omitempty"`
}

func newTokensWatch(s streams, load func() (*config.Station, error)) *cobra.Command {
	var format output.Format
	c := &cobra.Command{
		Use: "watch", Short: "Print tokens as they are inserted and pulled, until stopped", Args: noArgs,
		Long: `Print tokens as they are inserted and pulled, until stopped: first those that are
there, then every change. Nothing is written and no PIN is tried. With -o json,
one JSON object a line. A module that fails is named, and started again. Alarms
of the station, such as a pcscd that does not answer, and notes on modules go to
standard error, or are events with -o json.`,
		RunE: func(c *cobra.Command, _ []string) error {
			station, err := load()
			if err != nil {
				return err
			}
			events := make(chan tokenEvent)
			var watchers sync.WaitGroup
			watchers.Go(func() { watchPCSC(c.Context(), station, events) })
			for _, m := range station.Modules {
				watchers.Go(func() { watchModule(c.Context(), station, m, events) })
			}
			go func() { watchers.Wait(); close(events) }()
			failed := printModuleNotes(s, format, station)
			for e := range events {
				if failed == nil {
					failed = printEvent(s, format, e)
				}
			}
			return failed
		},
	}
	output.AddFlag(c.Flags(), &format)
	return c
}

func printEvent(s streams, format output.Format, e tokenEvent) error {
	if format == output.JSON {
		return json.NewEncoder(s.out).Encode(e)
	}
	switch e.Event {
	case eventNote:
		printNotes(s.words, s.err, []note{*e.Note})
		return nil
	case eventAlarm:
		printAlarms(s.words, s.err, e.Alarms)
		return nil
	case eventAlarmEnded:
		_, _ = s.words.Fprintf(s.err, "The alarm has ended at %s.\n", e.At.Format(time.TimeOnly))
		printAlarms(s.words, s.err, e.Alarms)
		return nil
	}
	what := output.Clean(fmt.Sprintf("%s  %q  %s  %s", e.Serial, e.Label, e.Model, s.words.Told(e.State)))
	if e.Event == "fault" {
		what = output.Clean(s.words.Told(e.Error))
	}
	_, err := fmt.Fprintf(s.out, "%s  %-8s  %s  %s\n", e.At.Format(time.TimeOnly), s.words.Name("event", e.Event), e.Module, what)
	return err
}

// Events that are not a token's.
const (
	eventNote       = "note"
	eventAlarm      = "alarm"
	eventAlarmEnded = "alarm-ended"
)

func printModuleNotes(s streams, format output.Format, station *config.Station) error {
	var failed error
	for _, n := range moduleNotes(station) {
		e := tokenEvent{At: time.Now(), Event: eventNote, tokenRow: tokenRow{Module: n.Module}, Note: &n}
		failed = errors.Join(failed, printEvent(s, format, e))
	}
	return failed
}

// pcscInterval is the time between two questions to pcscd.
const pcscInterval = 2 * time.Second

// watchPCSC asks each pcscd again and again, and tells when one stops or begins to work.
func watchPCSC(ctx context.Context, station *config.Station, events chan<- tokenEvent) {
	sockets := pcscSockets(station.Modules)
	before := map[string]agent.Alarm{}
	for ctx.Err() == nil && len(sockets) > 0 {
		found := probeAll(ctx, station.Modules, sockets)
		if ctx.Err() != nil {
			return
		}
		e := alarmEvent(before, found, distinct(station.Modules, sockets))
		if e.Event != "" {
			select {
			case events <- e:
			case <-ctx.Done():
			}
		}
		select {
		case <-time.After(pcscInterval):
		case <-ctx.Done():
		}
	}
}

// alarmEvent compares what was found with what stood before, and brings that up to
// date; its Event is "" when nothing has changed.
func alarmEvent(before map[string]agent.Alarm, found map[string]*agent.Alarm, sockets []string) tokenEvent {
	e := tokenEvent{At: time.Now()}
	for _, socket := range sockets {
		now, old := found[socket], before[socket]
		switch {
		case now == nil && old.Code != "":
			delete(before, socket)
			e.Event = cmp.Or(e.Event, eventAlarmEnded)
		case now != nil && now.Code != old.Code:
			before[socket] = *now
			e.Event = eventAlarm
		}
	}
	for _, socket := range sockets {
		if a, standing := before[socket]; standing {
			e.Alarms = append(e.Alarms, a)
		}
	}
	return e
}

// watchModule keeps a process of the module and looks again and again. What it
// saw last is kept over a failure, so that only changes are told.
func watchModule(ctx context.Context, station *config.Station, m config.Module, events chan<- tokenEvent) {
	tell := func(e tokenEvent) {
		e.At, e.Module = time.Now(), m.Name
		select {
		case events <- e:
		case <-ctx.Done():
		}
	}
	var process *worker.Process
	var before []tokenRow
	first, lastFault := true, ""
	for ctx.Err() == nil {
		rows, err := look(ctx, station, m, &process)
		switch {
		case ctx.Err() != nil:
		case err != nil && err.Error() != lastFault:
			lastFault = err.Error()
			tell(tokenEvent{Event: "fault", Error: lastFault})
		case err == nil:
			lastFault = ""
			for _, e := range tokenChanges(before, rows, first) {
				tell(e)
			}
			before, first = rows, false
		}
		select {
		case <-time.After(watchInterval):
		case <-ctx.Done():
		}
	}
	if process != nil {
		_ = process.Close() // nothing was written by it
	}
}

// look lists a module's tokens, by a process that is started when there is none.
func look(ctx context.Context, station *config.Station, m config.Module, process **worker.Process) ([]tokenRow, error) {
	if *process == nil {
		p, err := worker.Start(ctx, moduleSpec(station, m))
		if err != nil {
			return nil, err
		}
		*process = p
	}
	slots, err := (*process).Slots(ctx)
	if err != nil && !(*process).Healthy() {
		err = errors.Join(err, (*process).Close())
		*process = nil
	}
	if err != nil {
		return nil, err
	}
	return describeSlots(station, m, slots), nil
}

// tokenChanges compares two looks. A token whose label or state changed is told as inserted anew.
func tokenChanges(before, after []tokenRow, first bool) []tokenEvent {
	var out []tokenEvent
	for _, row := range before {
		if !slices.Contains(after, row) {
			out = append(out, tokenEvent{Event: "removed", tokenRow: row})
		}
	}
	for _, row := range after {
		if !slices.Contains(before, row) {
			event := "inserted"
			if first {
				event = "present"
			}
			out = append(out, tokenEvent{Event: event, tokenRow: row})
		}
	}
	return out
}
