package main

import (
	"strconv"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/output"
	"github.com/usbkeyd/usbkeyd/provision"
)

func newStockList(s streams, load func() (*config.Station, error)) *cobra.Command {
	var lot string
	var format output.Format
	c := &cobra.Command{
		Use: "list", Short: "List the delivered tokens by lot, and how many are blank", Args: noArgs,
		Long: `List the delivered tokens by lot, and how many of each are blank, at work, written,
quarantined, or refused because their factory SO PIN did not open them. With
--lot, list the tokens of one lot.`,
		RunE: func(*cobra.Command, []string) error {
			tokens, err := readJournal(load, func(j *provision.Journal) ([]provision.StockToken, error) { return j.Stock(lot) })
			if err != nil {
				return err
			}
			if lot != "" {
				return printTokens(s, format, tokens)
			}
			rows := provision.Lots(tokens)
			table := output.Rows{Header: []string{"LOT", "MODEL", "DELIVERED", "BLANK", "AT WORK", "WRITTEN", "QUARANTINED", "REFUSED"}, Empty: "No list of delivered tokens was taken in yet."}
			for _, r := range rows {
				line := []string{r.Lot, r.Model, strconv.Itoa(r.Delivered)}
				for _, state := range []provision.StockState{provision.StockBlank, provision.StockAtWork, provision.StockWritten, provision.StockQuarantined, provision.StockRefused} {
					line = append(line, strconv.Itoa(r.States[state]))
				}
				table.Rows = append(table.Rows, line)
			}
			return s.print(format, table, struct {
				Lots []provision.StockLot `json:"lots"`
			}{rows})
		},
	}
	c.Flags().StringVar(&lot, "lot", "", "list the tokens of this `lot`")
	output.AddFlag(c.Flags(), &format)
	return c
}

func printTokens(s streams, format output.Format, tokens []provision.StockToken) error {
	table := output.Rows{Header: []string{"TOKEN SERIAL", "CASING NUMBER", "LOT", "MODEL", "STATE", "UNIT", "TAKEN IN BY"}, Empty: "No tokens of this lot were taken in."}
	for _, t := range tokens {
		table.Rows = append(table.Rows, []string{t.Serial, t.Casing, t.Lot, t.Model, s.words.Name("stock-is", string(t.State)), t.Unit, t.TakenBy})
	}
	return s.print(format, table, struct {
		Tokens []provision.StockToken `json:"tokens"`
	}{append([]provision.StockToken{}, tokens...)})
}
