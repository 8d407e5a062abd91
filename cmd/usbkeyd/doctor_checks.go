package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/usbkeyd/usbkeyd/agent"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/csr/envelope"
	"github.com/usbkeyd/usbkeyd/internal/audit"
	"github.com/usbkeyd/usbkeyd/internal/doctor"
	"github.com/usbkeyd/usbkeyd/internal/mailer/cups"
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/pkcs11/worker"
	"github.com/usbkeyd/usbkeyd/provision"
)

// What of certificates and clocks is worth a word.
const (
	soonEnds  = 30 * 24 * time.Hour
	clockNote = 5 * time.Second
	clockOff  = time.Minute
	// checkTime bounds one look at a module or server.
	checkTime = 30 * time.Second
)

func good(check, format string, args ...any) doctor.Finding {
	return doctor.Finding{Check: check, State: doctor.Good, Code: "good", Found: fmt.Sprintf(format, args...)}
}

func trouble(check, code string, err error, mend string) doctor.Finding {
	return doctor.Finding{Check: check, State: doctor.Wrong, Code: code, Found: err.Error(), Mend: mend}
}

// checkConfiguration is what "config check" does; the station is nil where it is wrong.
func checkConfiguration(load func() (*config.Station, error)) (*config.Station, []doctor.Finding) {
	const check, mend = "configuration", "Change it as it says, and see usbkeyd config check."
	station, err := load()
	if err == nil {
		err = checkStation(station)
	}
	if err != nil {
		return nil, []doctor.Finding{trouble(check, "wrong", err, mend)}
	}
	found := []doctor.Finding{good(check, "%d modules, %d products", len(station.Modules), len(station.Products))}
	for _, n := range moduleNotes(station) {
		found = append(found, doctor.Finding{Check: check, State: doctor.Note, Code: n.Code, Found: n.String(), Mend: "Give the module's file to root."})
	}
	return station, found
}

// examine looks at all that a configured station needs.
func examine(ctx context.Context, station *config.Station) []doctor.Finding {
	var found []doctor.Finding
	found = append(found, checkIdentity(station))
	found = append(found, checkServers(ctx, station)...)
	found = append(found, checkModules(ctx, station)...)
	found = append(found, doctor.Folder(station.StateDir), doctor.Disk(station.StateDir))
	found = append(found, checkJournal(station)...)
	return append(found, checkMailers(ctx, station)...)
}

// checkIdentity looks at the station's key, and at the certificate's remaining days.
func checkIdentity(station *config.Station) doctor.Finding {
	const check = "identity"
	if err := station.Enrolled(); err != nil {
		return trouble(check, "not-enrolled", err, "Enrol the station: usbkeyd enroll, or with tier file usbkey-central station add.")
	}
	shown, err := showIdentity(station)
	if err != nil {
		return trouble(check, "unusable", explainTPM(err), "See usbkeyd identity show and docs/identity.md.")
	}
	days := int64(time.Until(*shown.NotAfter).Hours() / 24)
	f := good(check, "tier %s, the certificate ends in %d days", shown.Tier, days).With(days)
	if time.Now().After(*shown.NotAfter) {
		f.State, f.Code, f.Mend = doctor.Wrong, "ended", "Enrol the station again: usbkey-central station invite --replace, then usbkeyd enroll --new-key."
	} else if days < 7 {
		f.State, f.Code, f.Mend = doctor.Note, "ends-soon", "The daemon renews it from half of its time on: see in its log why it did not."
	}
	return f
}

// checkServers looks at each server by itself, and at the recipients that one offers.
func checkServers(ctx context.Context, station *config.Station) []doctor.Finding {
	var found []doctor.Finding
	var offered *agent.Seen
	for _, url := range station.Central.URLs {
		seen, err := lookAt(ctx, station, url)
		if err != nil {
			code, mend := "unreachable", "See whether the server runs, its name and port are right, and the network lets this machine at it."
			if errors.Is(err, agent.ErrForbidden) {
				code, mend = "not-accepted", "See usbkey-central station list: the station is not listed there, revoked, or has another certificate."
			}
			found = append(found, trouble("central server", code, fmt.Errorf("%s: %w", url, err), mend))
			continue
		}
		offered = &seen
		f := good("central server", "%s answers; its clock is %+d s from here", url, int64(seen.Ahead.Seconds())).With(int64(seen.Ahead.Seconds()))
		if off := seen.Ahead.Abs(); off > clockOff {
			f.State, f.Code, f.Mend = doctor.Wrong, "clock", "Set this machine's clock, by NTP: timedatectl set-ntp true."
		} else if off > clockNote {
			f.State, f.Code, f.Mend = doctor.Note, "clock", "Let NTP keep this machine's clock: timedatectl set-ntp true."
		}
		found = append(found, f)
	}
	if offered == nil {
		return found
	}
	if station.SealsUserPINs() {
		found = append(found, checkRecipients("recipients of user PINs", offered.UserPIN, station.Recipients.UserPIN, 1, time.Now()))
	}
	return append(found, checkRecipients("recipients of SO PINs", offered.SOPIN, station.Recipients.SOPIN, 2, time.Now()))
}

func lookAt(ctx context.Context, station *config.Station, url string) (agent.Seen, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	tpm := stationTPM(station)
	defer closeTPM(tpm)
	one := *station
	one.Central.URLs = []string{url}
	central, _, _, err := newCentral(&one, tpm)
	if err != nil {
		return agent.Seen{}, err
	}
	defer central.Close()
	return central.Look(ctx)
}

// checkRecipients: enough of those that the configuration lists are offered, and can be sealed
// to at a time; the number is the days until there are too few.
func checkRecipients(check string, offered [][]byte, listed []string, least int, at time.Time) doctor.Finding {
	var errs []error
	var ends []time.Time
	for _, der := range offered {
		r, err := envelope.ParseRecipient(der, at)
		if err != nil {
			errs = append(errs, err)
		} else if slices.Contains(listed, r.SHA256()) {
			ends = append(ends, r.NotAfter())
		}
	}
	if len(ends) < least {
		err := errors.Join(append([]error{fmt.Errorf("%d of %d that are needed: the server offers %d, the configuration lists %d", len(ends), least, len(offered), len(listed))}, errs...)...)
		return trouble(check, "too-few", err, "Give the server certificates that are good, and list their SHA-256 in the configuration (recipients).")
	}
	slices.SortFunc(ends, func(a, b time.Time) int { return b.Compare(a) })
	left := ends[least-1].Sub(at)
	days := int64(left.Hours() / 24)
	f := good(check, "%d can be sealed to, enough of them for %d days", len(ends), days).With(days)
	if left < soonEnds {
		f.State, f.Code, f.Mend = doctor.Note, "ends-soon", "Have new certificates made, give them to the server, and list their SHA-256."
	}
	return f
}

// checkModules loads each module in a process of its own, and asks each pcscd.
func checkModules(ctx context.Context, station *config.Station) []doctor.Finding {
	found := []doctor.Finding{}
	for _, m := range station.Modules {
		slots, err := slotsOf(ctx, station, m)
		if err != nil {
			found = append(found, trouble("module", "unusable", fmt.Errorf("%s: %w", m.Name, err), "See that the maker's package is there and whole, and what usbkeyd module qualify says of it."))
			continue
		}
		tokens := len(describeSlots(station, m, slots))
		f := good("module", "%s: %d slots, %d tokens", m.Name, len(slots), tokens).With(int64(tokens))
		if tokens == 0 {
			f.State, f.Code, f.Mend = doctor.Note, "no-token", "Plug a token in; see usbkeyd tokens watch."
		}
		found = append(found, f)
	}
	sockets := pcscSockets(station.Modules)
	alarms := probeAll(ctx, station.Modules, sockets)
	for _, socket := range distinct(station.Modules, sockets) {
		f := good("pcscd", "%s answers", socket)
		if a := alarms[socket]; a != nil {
			f = doctor.Finding{Check: "pcscd", State: doctor.Wrong, Code: a.Code, Found: a.Text, Mend: a.Hint}
		}
		found = append(found, f)
	}
	return found
}

func slotsOf(ctx context.Context, station *config.Station, m config.Module) (slots []pkcs11.Slot, err error) {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	module, err := worker.Start(ctx, moduleSpec(station, m))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, module.Close()) }()
	return module.Slots(ctx)
}

// checkJournal reads the journal, checks its record, and counts what waits for somebody.
func checkJournal(station *config.Station) []doctor.Finding {
	const check = "journal"
	var found []doctor.Finding
	there, err := besideDaemon(station, func(j *provision.Journal) error {
		all, err := j.All()
		if err != nil {
			return err
		}
		origin, keys, err := recordOf(station)
		if err != nil {
			return err
		}
		state, err := verifyRecord(j, origin, keys, "")
		if err != nil {
			return err
		}
		waits := int64(0)
		for _, r := range all {
			if r.State == provision.StateQuarantined || r.Waiting == provision.WaitingPerson {
				waits++
			}
		}
		pending, err := j.CountPendingReports()
		if err != nil {
			return err
		}
		found = append(found, good(check, "%d jobs; %d entries on record, %d of them signed by the central server", len(all), state.Entries, state.Anchored).With(int64(len(all))))
		if waits > 0 {
			found = append(found, doctor.Finding{Check: "jobs", State: doctor.Note, Code: "wait-for-a-person", Found: fmt.Sprintf("%d wait for a person", waits), Mend: "See usbkeyd jobs list, which says what to do."}.With(waits))
		}
		if pending > 0 {
			found = append(found, doctor.Finding{Check: "outbox", State: doctor.Note, Code: "pending", Found: fmt.Sprintf("%d reports are not delivered yet", pending), Mend: "They go when the daemon runs and reaches the central server."}.With(int64(pending)))
		}
		return nil
	})
	switch {
	case errors.Is(err, audit.ErrBroken):
		return append(found, trouble(check, "record-broken", err, "Stop the station and keep the disk as it is: see docs/audit.md."))
	case err != nil:
		return append(found, trouble(check, "unreadable", err, "Run this as the user that the daemon runs as. If the file is damaged, see docs/architecture.md before anything else is done to it."))
	case !there:
		return append(found, doctor.Finding{Check: check, State: doctor.Note, Code: "none", Found: "there is none yet", Mend: "It is made when the daemon starts for the first time."})
	}
	return found
}

// checkMailers looks at font, CUPS and printer where letters are printed.
func checkMailers(ctx context.Context, station *config.Station) []doctor.Finding {
	const check, mend = "PIN mailers", "See docs/mailers.md on how a printer is set up."
	m, err := newMailers(station, cups.Supported)
	switch {
	case err != nil:
		return []doctor.Finding{trouble(check, "unusable", err, mend)}
	case m == nil && cups.Supported() != nil:
		return []doctor.Finding{good(check, "none: they are not printed on this system")}
	case m == nil:
		return nil
	}
	if err := m.printer.Ready(ctx); err != nil {
		return []doctor.Finding{trouble(check, "printer", err, mend)}
	}
	return []doctor.Finding{good(check, "printer %s and the font are ready", m.printer.Name)}
}
