package main

import (
	"errors"
	"fmt"
	"image/color"
	"os"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// colours of the sides, which people can tell apart who see fewer.
func colours() map[string]color.Color {
	return map[string]color.Color{
		sideFloor:   color.RGBA{R: 0x55, G: 0x55, B: 0x55, A: 0xff},
		sideStation: color.RGBA{R: 0x00, G: 0x72, B: 0xb2, A: 0xff},
		sideWithout: color.RGBA{R: 0x56, G: 0xb4, B: 0xe9, A: 0xff},
		sideShell:   color.RGBA{R: 0xd5, G: 0x5e, B: 0x00, A: 0xff},
	}
}

// draw writes the plot: of each side how many tokens a second it made, run by run, for
// both algorithms side by side.
func (r Report) draw(path string) (err error) {
	canvas := vgsvg.New(9*vg.Inch, 3.6*vg.Inch)
	tiles := draw.Tiles{Rows: 1, Cols: 2, PadX: vg.Points(16), PadLeft: vg.Points(6), PadRight: vg.Points(6), PadTop: vg.Points(6), PadBottom: vg.Points(6)}
	whole := draw.New(canvas)
	whole.SetColor(color.White)
	whole.Fill(whole.Rectangle.Path())
	for i, s := range []struct{ series, title string }{{"ec", "P-256"}, {"rsa", "RSA-2048"}} {
		p, err := r.perRun(s.series)
		if err != nil {
			return err
		}
		p.Title.Text = s.title
		p.Draw(tiles.At(whole, i, 0))
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = canvas.WriteTo(f)
	return errors.Join(err, f.Close())
}

func (r Report) perRun(series string) (*plot.Plot, error) {
	p := plot.New()
	p.X.Label.Text, p.Y.Label.Text = "run", "tokens/s"
	p.Legend.Top, p.Legend.Left = false, true
	p.Add(plotter.NewGrid())
	most := 0.0
	for _, side := range []string{sideFloor, sideStation, sideWithout, sideShell} {
		runs := r.runs(series, side)
		if len(runs) == 0 {
			continue
		}
		points := make(plotter.XYs, len(runs))
		for i, run := range runs {
			points[i].X, points[i].Y = float64(i+1), run.perSecond()
			most = max(most, points[i].Y)
		}
		line, dots, err := plotter.NewLinePoints(points)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", side, err)
		}
		line.Color, dots.Color, dots.Shape = colours()[side], colours()[side], draw.CircleGlyph{}
		line.Width = vg.Points(1.5)
		p.Add(line, dots)
		p.Legend.Add(side, line, dots)
	}
	// Room for the legend above, and nothing cut off below.
	p.Legend.Top = true
	p.Y.Min, p.Y.Max = 0, 1.5*most
	return p, nil
}
