// Command usbkey-rig runs what is beside a station, for a person or a script: the virtual
// USB hub, a PC/SC daemon of its own with virtual YubiKeys, put in and pulled by commands
// on standard input; and a printer for PIN mailers. It is for trying things out; nothing
// on it is secret.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test/pivcard"
	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test/usbrig"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdin, os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		_, _ = fmt.Fprintln(os.Stderr, "usbkey-rig:", err)
		os.Exit(1)
	}
}

// desk is the hub with the cards that lie beside it or are in it.
type desk struct {
	rig   *usbrig.Rig
	maker *pivcard.Maker
	cards []*pivcard.Card // by reader; nil until one was made for it
	in    []bool
	next  uint32
	out   io.Writer
}

func run(ctx context.Context, args []string, in io.Reader, out io.Writer) (err error) {
	flags := flag.NewFlagSet("usbkey-rig", flag.ContinueOnError)
	cards := flags.Int("cards", 8, "how many readers, each with a factory-new card; 0 for no hub")
	prints := flags.Bool("printer", false, "run a CUPS of its own, too, with a printer that keeps the last sheet as PDF")
	dir := flags.String("dir", "", "an empty `folder` for sockets and files (default: a temporary one)")
	ready := flags.String("ready", "", "write what programs need to `file`, as JSON, once all is there")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unknown argument %q", flags.Arg(0))
	}
	if *dir == "" {
		if *dir, err = os.MkdirTemp("", "usbkey-rig-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(*dir)) }()
	}
	d, facts := &desk{out: out}, map[string]any{}
	if *prints {
		var p *printer
		if p, err = openPrinter(); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, p.close()) }()
		d.say("Printer %s keeps the last sheet in %s", p.Name, p.Sheet)
		facts["printer"] = p
	}
	if *cards > 0 {
		var log *os.File
		if log, err = os.Create(filepath.Join(*dir, "pcscd.log")); err != nil {
			return err
		}
		defer func() { _ = log.Close() }()
		if err := d.open(ctx, *dir, *cards, log); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, d.rig.Close()) }()
		if err := d.tell(*dir, facts); err != nil {
			return err
		}
	}
	d.say("Here: list, pull N, insert N, new N (another, factory-new card), quit")
	if err := publish(*ready, facts); err != nil {
		return err
	}
	return d.obey(ctx, in)
}

// open starts the hub and puts a new card into every reader.
func (d *desk) open(ctx context.Context, dir string, cards int, log io.Writer) error {
	maker, err := pivcard.NewMaker()
	if err != nil {
		return err
	}
	rig, err := usbrig.Start(ctx, dir, cards, log)
	if err != nil {
		return err
	}
	d.rig, d.maker, d.cards, d.in, d.next = rig, maker, make([]*pivcard.Card, cards), make([]bool, cards), 10000001
	for i := range cards {
		if err := d.renew(ctx, i); err != nil {
			return errors.Join(err, rig.Close())
		}
	}
	// Whoever is told that all is there should find all there.
	for i := range cards {
		if err := rig.Sees(ctx, i, true); err != nil {
			return errors.Join(err, rig.Close())
		}
	}
	return nil
}

// tell says how to use the hub, to a person and, in facts, to programs.
func (d *desk) tell(dir string, facts map[string]any) error {
	root := filepath.Join(dir, "maker-root.pem")
	if err := os.WriteFile(root, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: d.maker.Root.Raw}), 0o644); err != nil {
		return err
	}
	d.say("%d virtual YubiKeys are in. In another terminal:", len(d.cards))
	d.say("  export PCSCLITE_CSOCK_NAME=%s", d.rig.Socket())
	d.say("  pkcs11-tool --module %s --list-slots", d.rig.Module())
	d.say("PIN %s, PUK %s, management key (SO PIN) %s", pivcard.FactoryPIN, pivcard.FactoryPUK, pivcard.FactoryManagementKey)
	d.say("Attestations lead to %s", root)
	maps.Copy(facts, map[string]any{
		"module": d.rig.Module(), "env": d.rig.Env(), "readers": len(d.cards), "attestationRoot": root,
		"factorySoPin": pivcard.FactoryManagementKey, "factoryUserPin": pivcard.FactoryPIN,
	})
	return nil
}

// publish writes what programs need to a file, if there is one to be.
func publish(ready string, facts map[string]any) error {
	if ready == "" {
		return nil
	}
	data, err := json.Marshal(facts)
	if err != nil {
		return err
	}
	// Renamed into place: who waits for it must not read half of it.
	if err := os.WriteFile(ready+".next", data, 0o600); err != nil {
		return err
	}
	return os.Rename(ready+".next", ready)
}

// obey carries commands out until the input, ctx or the person ends it.
func (d *desk) obey(ctx context.Context, in io.Reader) error {
	lines := make(chan string)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(in); s.Scan(); {
			lines <- s.Text()
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case line, ok := <-lines:
			words := strings.Fields(line)
			if !ok || len(words) == 1 && words[0] == "quit" {
				return nil
			}
			if len(words) == 0 {
				continue
			}
			if err := d.do(ctx, words); err != nil {
				d.say("%v", err)
			}
		}
	}
}

func (d *desk) do(ctx context.Context, words []string) error {
	if words[0] == "list" && len(words) == 1 {
		for i, c := range d.cards {
			where := "beside"
			if d.in[i] {
				where = "in"
			}
			d.say("%2d  %s  card %d", i+1, where, c.Serial)
		}
		return nil
	}
	if len(words) != 2 {
		return fmt.Errorf("list, pull N, insert N, new N or quit is wanted")
	}
	n, err := strconv.Atoi(words[1])
	if err != nil || n < 1 || n > len(d.cards) {
		return fmt.Errorf("readers are 1 to %d", len(d.cards))
	}
	switch i := n - 1; words[0] {
	case "pull":
		err := d.rig.Pull(i)
		d.in[i] = d.in[i] && err != nil
		return err
	case "insert":
		err := d.rig.Insert(ctx, i, d.cards[i])
		d.in[i] = d.in[i] || err == nil
		return err
	case "new":
		return d.renew(ctx, i)
	}
	return fmt.Errorf("unknown command %q: list, pull N, insert N, new N or quit is wanted", words[0])
}

// renew puts another, factory-new card into a reader.
func (d *desk) renew(ctx context.Context, i int) error {
	if d.in[i] {
		if err := d.rig.Pull(i); err != nil {
			return err
		}
		d.in[i] = false
	}
	c, err := pivcard.New(d.next, d.maker)
	if err != nil {
		return err
	}
	d.next++
	if err := d.rig.Insert(ctx, i, c); err != nil {
		return err
	}
	d.cards[i], d.in[i] = c, true
	return nil
}

func (d *desk) say(format string, args ...any) { _, _ = fmt.Fprintf(d.out, format+"\n", args...) }
