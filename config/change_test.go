package config

import (
	"slices"
	"testing"
	"time"
)

// TestChanged names the keys that differ and no value, and which of them need a restart.
func TestChanged(t *testing.T) {
	s := func() *Station {
		return &Station{
			Name: "a", Modules: []Module{{Name: "bay-01", Env: map[string]string{"SOFTHSM2_CONF": "x"}}}, Products: []Product{{Code: "A"}},
			TokenProfiles: []TokenProfile{{Name: "p"}},
		}
	}
	for name, row := range map[string]struct {
		change        func(*Station)
		live, restart []string
	}{
		"nothing":             {func(*Station) {}, nil, nil},
		"a plain key":         {func(s *Station) { s.StateDir = "/x" }, nil, []string{"stateDir"}},
		"a key below":         {func(s *Station) { s.TokenProfiles[0].Deadlines.Call = time.Second }, nil, []string{"tokenProfiles[0].deadlines.call"}},
		"an entry of a map":   {func(s *Station) { s.Modules[0].Env["SOFTHSM2_CONF"] = "y" }, nil, []string{"modules[0].env.SOFTHSM2_CONF"}},
		"one more of a map":   {func(s *Station) { s.Modules[0].Env["OPENSC_CONF"] = "y" }, nil, []string{"modules[0].env.OPENSC_CONF"}},
		"a list that grows":   {func(s *Station) { s.Modules = append(s.Modules, Module{}) }, nil, []string{"modules"}},
		"a list of text":      {func(s *Station) { s.Central.URLs = []string{"https://b"} }, nil, []string{"central.urls"}},
		"a product":           {func(s *Station) { s.Products[0].UserPIN.FirstPIN = "13572468" }, []string{"products[0].userPin.firstPin"}, nil},
		"one more product":    {func(s *Station) { s.Products = append(s.Products, Product{}) }, []string{"products"}, nil},
		"a printer, a port":   {func(s *Station) { s.Mailer.Printer, s.Console.Port = "q", 9000 }, []string{"mailer.printer"}, []string{"console.port"}},
		"what has no key":     {func(s *Station) { s.TokenProfiles[0].WellKnownSOPIN = "3537363231383830" }, nil, nil},
		"how parcels are put": {func(s *Station) { s.Packing.Verify = VerifyNever }, []string{"packing.verify"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			after := s()
			row.change(after)
			live, restart := Changed(s(), after)
			if !slices.Equal(live, row.live) || !slices.Equal(restart, row.restart) {
				t.Errorf("live %v, restart %v; wanted %v and %v", live, restart, row.live, row.restart)
			}
			taken := s()
			taken.TakeLive(after)
			if live, left := Changed(taken, after); len(live) != 0 || !slices.Equal(left, row.restart) {
				t.Errorf("after it was taken over, live %v and restart %v are left", live, left)
			}
		})
	}
}
