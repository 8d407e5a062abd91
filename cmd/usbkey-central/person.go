package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

// person is who decides, and why.
type person struct{ operator, reason string }

func (p *person) addFlags(c *cobra.Command) {
	c.Flags().StringVar(&p.operator, "operator", "", "`id` of the person who decides; an id, not a name")
	c.Flags().StringVar(&p.reason, "reason", "", "`text` that says why; no names of persons")
}

func (p *person) check(c *cobra.Command) error {
	switch {
	case p.operator == "":
		return usagef("%s needs --operator ID: who decides is written down", c.CommandPath())
	case p.reason == "":
		return usagef("%s needs --reason TEXT: why is written down", c.CommandPath())
	}
	return nil
}

// generation is 0 for the unit's present one.
func addGeneration(c *cobra.Command, g *int32) {
	c.Flags().Int32Var(g, "generation", 0, "`number` of the generation that is meant; without it the unit's present one")
}

func printf(s streams, format string, args ...any) error {
	_, err := fmt.Fprintf(s.out, format, args...)
	return err
}
