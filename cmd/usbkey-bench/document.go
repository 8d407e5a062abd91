package main

import (
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"time"
)

//go:embed benchmarks.md.tmpl
var documentText string

// document writes the document and its plot. It refuses what too few pairs were run for.
func (r Report) document(path, plot string) error {
	if r.Tokens != wholeHub {
		return fmt.Errorf("%d tokens were made at a time, a document wants %d", r.Tokens, wholeHub)
	}
	for _, b := range r.bars() {
		if b.pairs < enoughPairs {
			return fmt.Errorf("%s: %d pairs were run, a document wants %d", b.work, b.pairs, enoughPairs)
		}
	}
	shown, err := filepath.Rel(filepath.Dir(path), plot)
	if err != nil {
		return err
	}
	t, err := template.New("document").Parse(documentText)
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	err = t.Execute(f, map[string]any{
		"Report": r, "Plot": filepath.ToSlash(shown), "At": r.At.Format("2006-01-02 15:04 UTC"), "Took": r.Took.Round(time.Minute),
		"Memory": fmt.Sprintf("%.1f GB", float64(r.Machine.Memory)/1e9), "Packages": strings.Join(r.Machine.Packages, ", "),
		"Bars": r.barTable(), "Speed": r.speedTable(), "Slow": r.slowTable(), "Calls": r.callTable(),
	})
	return errors.Join(err, f.Close(), r.draw(plot))
}

// table makes a table of rows of cells; the first is its head.
func table(rows [][]string) string {
	var b strings.Builder
	for i, row := range rows {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			b.WriteString(strings.Repeat("|---", len(row)) + "|\n")
		}
	}
	return b.String()
}

func (r Report) barTable() string {
	rows := [][]string{{"work", "figure", "bar", ""}}
	for _, b := range r.bars() {
		rows = append(rows, []string{b.work, "**" + b.figure() + "**", b.wanted(), b.verdict()})
	}
	return table(rows)
}

// spread is the median of a figure, and between what it lay.
func spread(runs []Run, figure func(Run) float64) string {
	values := each(runs, figure)
	if len(values) == 0 {
		return "—"
	}
	return fmt.Sprintf("%.1f (%.1f to %.1f)", median(values), slices.Min(values), slices.Max(values))
}

func inMilliseconds(f func(Run) float64) func(Run) float64 {
	return func(r Run) float64 { return f(r) / float64(time.Millisecond) }
}

func (r Report) speedTable() string {
	rows := [][]string{{"key", "side", "tokens/s", "CPU ms a token", "start included", "server and CA, CPU ms a token"}}
	for _, s := range r.Series {
		if s.Name != "ec" && s.Name != "rsa" {
			continue
		}
		for _, one := range s.Sides {
			row := []string{map[string]string{"ec": "P-256", "rsa": "RSA-2048"}[s.Name], one.Name, spread(one.Runs, Run.perSecond), spread(one.Runs, inMilliseconds(cpuEach)), "", ""}
			if one.Runs[0].ServerCPU > 0 {
				row[4] = spread(one.Runs, inMilliseconds(wholeCPUEach))
				row[5] = spread(one.Runs, inMilliseconds(func(r Run) float64 { return float64(r.ServerCPU) / float64(r.Tokens) }))
			}
			rows = append(rows, row)
		}
	}
	return table(rows)
}

func (r Report) slowTable() string {
	rows := [][]string{{"module", "side", "wall, s", "inside the module, s a token"}}
	for _, s := range r.Series {
		module, known := map[string]string{"slow": "key generation of 3 s", "usb": "USB-like, 16 tokens"}[s.Name]
		if !known {
			continue
		}
		for _, one := range s.Sides {
			seconds := func(f func(Run) float64) string {
				values := each(one.Runs, f)
				return fmt.Sprintf("%.2f (%.2f to %.2f)", median(values)/float64(time.Second), slices.Min(values)/float64(time.Second), slices.Max(values)/float64(time.Second))
			}
			rows = append(rows, []string{module, one.Name, seconds(wall), seconds(insideEach)})
		}
	}
	return table(rows)
}

// callTable is how often each function is called for a token of the USB-like profile.
func (r Report) callTable() string {
	floor, station := callsEach(r.runs("usb", sideFloor)), callsEach(r.runs("usb", sideStation))
	all := maps.Clone(floor)
	maps.Copy(all, station)
	rows := [][]string{{"function", sideFloor, sideStation}}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		rows = append(rows, []string{name, fmt.Sprintf("%.1f", floor[name]), fmt.Sprintf("%.1f", station[name])})
	}
	return table(rows)
}

// callsEach is how often each function is called for a token, in the mean of all runs.
func callsEach(runs []Run) map[string]float64 {
	mean := map[string]float64{}
	tokens := 0
	for _, r := range runs {
		tokens += r.Tokens
	}
	for _, r := range runs {
		for name, n := range r.Calls {
			mean[name] += float64(n) / float64(tokens)
		}
	}
	return mean
}
