package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/output"
	"github.com/usbkeyd/usbkeyd/internal/stock"
	"github.com/usbkeyd/usbkeyd/provision"
)

// unlistedHint is what to do with a token that is not on the list.
const unlistedHint = "If it came with a delivery, take in the supplier's list with usbkeyd stock import; if not, take it out and find out where it is from."

// intake is what stock import prints as JSON.
type intake struct {
	Lot     string `json:"lot"`
	Model   string `json:"model"`
	Tokens  int    `json:"tokens"`
	SHA256  string `json:"sha256"`
	TakenBy string `json:"takenBy"`
}

func newStockImport(s streams, load func() (*config.Station, error)) *cobra.Command {
	var by string
	var format output.Format
	c := &cobra.Command{
		Use: "import FILE", Short: "Take in a supplier's list of delivered tokens", Args: exactArgs(1, "one file"),
		Long: `Take in a supplier's list of delivered tokens, CSV in UTF-8. Its first line names
the columns:

  token_serial,casing_number,lot,model
  A0000001,K-000001,LOT-2026-11,Card 3

or 令牌序列号, 外壳编号, 批次 and 型号, in any order. The token serial and the model are what the
chip shows (usbkeyd tokens list), the casing number is what is printed on its
outside. A list is of one lot, and a lot of one model. All of it is taken in, or
nothing: what is wrong is named with line and column. It may be done while the
daemon runs.`,
		RunE: func(_ *cobra.Command, args []string) error {
			if err := checkBy(by); err != nil {
				return err
			}
			list, err := readList(args[0])
			if err != nil {
				return err
			}
			if err := takeIn(load, list, by); err != nil {
				return stockFault(args[0], err)
			}
			first := list.Tokens[0]
			row := intake{Lot: first.Lot, Model: first.Model, Tokens: len(list.Tokens), SHA256: list.SHA256, TakenBy: by}
			if format == output.Table {
				_, err := s.words.Fprintf(s.out, "Taken in: lot %s, model %s, tokens: %d\n", row.Lot, output.Clean(row.Model), row.Tokens)
				return err
			}
			return s.print(format, output.Rows{}, row)
		},
	}
	byFlag(c, &by)
	output.AddFlag(c.Flags(), &format)
	return c
}

func readList(path string) (*stock.List, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the list: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	list, err := stock.Parse(f)
	if err != nil {
		return nil, stockFault(path, err)
	}
	return list, nil
}

// stockFault says that a list's fault has changed nothing, and what to do.
func stockFault(path string, err error) error {
	var row *stock.RowError
	if errors.As(err, &row) {
		return fmt.Errorf("%s, %w. Nothing was taken in; put the list right and import it again", path, err)
	}
	return fmt.Errorf("%s: %w; nothing was taken in", path, err)
}

// takeIn adds a list to the stock of this station, beside a daemon that may be running. A
// station that has no journal yet gets all that belongs to one, as at a first start.
func takeIn(load func() (*config.Station, error), list *stock.List, by string) (err error) {
	station, err := load()
	if err != nil {
		return err
	}
	exists, err := provision.JournalExists(journalPath(station.StateDir))
	if err != nil {
		return err
	}
	if !exists {
		tpm := stationTPM(station)
		defer closeTPM(tpm)
		st, err := openStationState(station, tpm)
		if err != nil {
			return err
		}
		return errors.Join(st.journal.TakeIn(list, by, time.Now()), st.Close())
	}
	journal, err := provision.OpenJournal(journalPath(station.StateDir))
	if err != nil {
		return err
	}
	return errors.Join(journal.TakeIn(list, by, time.Now()), journal.Close())
}
