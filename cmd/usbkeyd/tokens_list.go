package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/agent"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/output"
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/pkcs11/worker"
	"github.com/usbkeyd/usbkeyd/provision"
)

// tokenRow is one slot as tokens list shows it.
type tokenRow struct {
	Module  string `json:"module"`
	Slot    string `json:"slot"`
	Model   string `json:"model"`
	Serial  string `json:"tokenSerial"`
	Label   string `json:"tokenLabel"`
	State   string `json:"state"`
	Profile string `json:"profile"`
}

// tokenList is what tokens list prints as JSON.
type tokenList struct {
	Tokens []tokenRow    `json:"tokens"`
	Notes  []note        `json:"notes"`
	Alarms []agent.Alarm `json:"alarms"`
}

func newTokensList(s streams, load func() (*config.Station, error)) *cobra.Command {
	var format output.Format
	c := &cobra.Command{
		Use: "list", Short: "List the tokens in every configured module", Args: noArgs,
		Long: `List the tokens in every configured module. Each module is loaded in a process
of its own, nothing is written and no PIN is tried. A module that cannot be read
is named, and the rest is listed all the same. Alarms of the station, such as a
pcscd that does not answer, and notes on modules go to standard error; with -o
json they are in the fields alarms and notes.`,
		RunE: func(c *cobra.Command, _ []string) error {
			station, err := load()
			if err != nil {
				return err
			}
			list, err := listStation(c.Context(), station)
			err = errors.Join(err, markUnlisted(station, list.Tokens))
			table := output.Rows{Header: []string{"MODULE", "SLOT", "MODEL", "TOKEN SERIAL", "LABEL", "STATE", "PROFILE"}, Empty: "No tokens are plugged in."}
			for _, r := range list.Tokens {
				table.Rows = append(table.Rows, []string{r.Module, r.Slot, r.Model, r.Serial, r.Label, s.words.Told(r.State), r.Profile})
			}
			err = errors.Join(s.print(format, table, list), err)
			if format == output.Table {
				printNotes(s.words, s.err, list.Notes)
				printAlarms(s.words, s.err, list.Alarms)
			}
			return err
		},
	}
	output.AddFlag(c.Flags(), &format)
	return c
}

// listStation lists the tokens while it asks each pcscd. One that does not work is no
// alarm when its modules show tokens all the same: they do not need it.
func listStation(ctx context.Context, station *config.Station) (tokenList, error) {
	sockets := pcscSockets(station.Modules)
	list := tokenList{Notes: moduleNotes(station), Alarms: []agent.Alarm{}}
	var alarms map[string]*agent.Alarm
	var asking sync.WaitGroup
	asking.Go(func() { alarms = probeAll(ctx, station.Modules, sockets) })
	var err error
	list.Tokens, err = listTokens(ctx, station)
	asking.Wait()
	for _, socket := range distinct(station.Modules, sockets) {
		shown := slices.ContainsFunc(list.Tokens, func(r tokenRow) bool { return sockets[r.Module] == socket })
		if a := alarms[socket]; a != nil && !shown {
			list.Alarms = append(list.Alarms, *a)
		}
	}
	return list, err
}

// listTokens reads all modules side by side and keeps their order.
func listTokens(ctx context.Context, station *config.Station) ([]tokenRow, error) {
	perModule := make([][]tokenRow, len(station.Modules))
	errs := make([]error, len(station.Modules))
	var wait sync.WaitGroup
	few := make(chan struct{}, 8)
	for i, m := range station.Modules {
		wait.Go(func() {
			few <- struct{}{}
			defer func() { <-few }()
			perModule[i], errs[i] = listModule(ctx, station, m)
		})
	}
	wait.Wait()
	rows := []tokenRow{}
	for _, r := range perModule {
		rows = append(rows, r...)
	}
	return rows, errors.Join(errs...)
}

func listModule(ctx context.Context, station *config.Station, m config.Module) (rows []tokenRow, err error) {
	module, err := worker.Start(ctx, moduleSpec(station, m))
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", m.Name, err)
	}
	defer func() { err = errors.Join(err, module.Close()) }()
	slots, err := module.Slots(ctx)
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", m.Name, err)
	}
	return describeSlots(station, m, slots), nil
}

// describeSlots lists the tokens in the slots of a module.
func describeSlots(station *config.Station, m config.Module, slots []pkcs11.Slot) (rows []tokenRow) {
	initialised := 0
	for _, s := range slots {
		if s.Token != nil && s.Token.Initialized() {
			initialised++
		}
	}
	for _, s := range slots {
		if s.Token == nil {
			continue
		}
		if !s.Token.Initialized() && m.Tokens > 0 && initialised >= m.Tokens {
			continue // the blank slot that a software token shows beside its tokens
		}
		rows = append(rows, describeToken(station, m, s))
	}
	return rows
}

func describeToken(station *config.Station, m config.Module, s pkcs11.Slot) tokenRow {
	row := tokenRow{
		Module: m.Name, Slot: s.Description, Model: s.Token.Model,
		Serial: string(s.Token.Serial), Label: string(s.Token.Label), State: "uninitialised",
	}
	if s.Token.Initialized() {
		row.State = "initialised"
	}
	if p, ok := station.TokenProfileFor(s.Token.Manufacturer, s.Token.Model); ok {
		row.Profile = p.Name
	} else {
		row.State += ", no profile fits"
	}
	return row
}

// markUnlisted says of each token that it is not on the list of delivered ones, where
// that keeps it from being written. One that was written is told by its job.
func markUnlisted(station *config.Station, rows []tokenRow) error {
	if !station.Stock.DeliveredOnly {
		return nil
	}
	mark := func(j *provision.Journal) error {
		for i, r := range rows {
			known := false
			if j != nil {
				var err error
				if known, err = j.KnowsToken(pkcs11.TokenSerial(r.Serial), r.Model); err != nil {
					return err
				}
			}
			if !known {
				rows[i].State += ", not on the list of delivered tokens"
			}
		}
		return nil
	}
	there, err := besideDaemon(station, mark)
	if err == nil && !there {
		err = mark(nil)
	}
	return err
}
