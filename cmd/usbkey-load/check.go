package main

import (
	"context"
	"fmt"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/stationload"
)

// check compares what the stations were told with what the server and its CA have:
// nothing issued twice, nothing lost, no order at two stations, for none of them was
// silent for as long as an order's home may be.
func (b *bench) check(ctx context.Context) error {
	admin := b.servers[0].admin
	units, err := admin.Units(ctx, "", "")
	if err != nil {
		return err
	}
	certificates, err := admin.Certificates(ctx)
	if err != nil {
		return err
	}
	lives, wrong := b.fleet.Lives()
	b.row.Wrong = append(b.row.Wrong, wrong...)
	b.row.Wrong = append(b.row.Wrong, disagreements(b.o.units, lives, units, certificates)...)
	b.row.Installed = 0
	for _, u := range units {
		if u.State == api.INSTALLED {
			b.row.Installed++
		}
	}
	return nil
}

// disagreements is what is wrong in the end; n is how many units there were.
func disagreements(n int, lives []stationload.Life, units []api.Unit, certificates []api.CertificateRecord) []string {
	var wrong []string
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	if len(units) != n || len(lives) != n || len(certificates) != n {
		bad("%d units were ordered: the server has %d, and %d certificates, and stations made %d", n, len(units), len(certificates), len(lives))
	}
	told := make(map[string]stationload.Life)
	home := make(map[string]string)
	for _, l := range lives {
		if _, twice := told[l.Unit]; twice {
			bad("unit %s was made twice", l.Unit)
		}
		told[l.Unit] = l
		if at, known := home[l.Order]; known && at != l.Station {
			bad("order %s was split over %s and %s", l.Order, at, l.Station)
		}
		home[l.Order] = l.Station
	}
	for _, u := range units {
		l, made := told[u.UnitId]
		switch {
		case u.State != api.INSTALLED:
			bad("unit %s is %s", u.UnitId, u.State)
		case !made:
			bad("unit %s is INSTALLED, and no station has made it", u.UnitId)
		case text(u.CertificateSha256) != l.Fingerprint || text(u.CertificateSerial) != l.CertificateSerial || text(u.TokenSerial) != l.TokenSerial:
			bad("unit %s has another certificate or token than its station was told", u.UnitId)
		}
	}
	issued, keys, serials := make(map[string]bool), make(map[string]bool), make(map[string]bool)
	for _, c := range certificates {
		if issued[c.UnitId] || keys[c.PublicKeySha256] || serials[c.CertificateSerial] {
			bad("certificate %s of unit %s is the second one of its unit, its key or its number", c.CertificateSerial, c.UnitId)
		}
		issued[c.UnitId], keys[c.PublicKeySha256], serials[c.CertificateSerial] = true, true, true
		if l := told[c.UnitId]; l.Fingerprint != c.CertificateSha256 {
			bad("certificate %s of unit %s is not the one that its station was told", c.CertificateSerial, c.UnitId)
		}
	}
	return wrong
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
