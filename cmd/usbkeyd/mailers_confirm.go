package main

import (
	"errors"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/floor"
)

func newMailersConfirm(s streams, load func() (*config.Station, error)) *cobra.Command {
	var by string
	c := &cobra.Command{
		Use: "confirm UNIT", Short: "Say that you have a unit's letter in your hand, whole and readable", Args: exactArgs(1, "the id of a unit"),
		Long: `Say that you have a unit's letter in your hand, whole and readable, and put it
into its envelope. The central server is told by the daemon; from then on you
cannot pack this unit's token, which somebody else has to do.`,
		RunE: func(_ *cobra.Command, args []string) error {
			if err := checkBy(by); err != nil {
				return err
			}
			if err := confirmLetter(load, args[0], by); err != nil {
				return err
			}
			_, err := s.words.Fprintf(s.out, "The letter of %s is confirmed by %s, who must not pack its token.\n", args[0], by)
			return err
		},
	}
	byFlag(c, &by)
	return c
}

// confirmLetter needs no PIN and no printer.
func confirmLetter(load func() (*config.Station, error), unit, by string) (err error) {
	station, err := load()
	if err != nil {
		return err
	}
	if err := hasJournal(station); err != nil {
		return err
	}
	st, err := openDesk(station.StateDir, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	return floor.ConfirmLetter(st.journal, unit, by)
}
