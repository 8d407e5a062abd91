//go:build !race

package simulation

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/central"
	"github.com/usbkeyd/usbkeyd/internal/central/database"
	"github.com/usbkeyd/usbkeyd/internal/central/store"
)

// node is one of the central servers on the store: what outlives its process.
type node struct {
	w      *world
	name   string
	dir    string
	server *central.Server // nil while it is off
	way    *database.Node
	down   time.Time // off until then
}

// url is where stations look for it; the wire knows it by the host.
func (n *node) url() string { return "https://" + n.name }

func (w *world) addNode() {
	n := &node{w: w, name: fmt.Sprintf("central-%d", 1+len(w.nodes))}
	n.dir = filepath.Join(w.dir, n.name)
	if len(w.nodes) > 0 { // it needs the first one's root
		root := filepath.Join(n.dir, "station-root")
		w.must(os.CopyFS(root, os.DirFS(filepath.Join(w.nodes[0].dir, "station-root"))))
		w.must(os.Chmod(filepath.Join(root, "root.key"), 0o600))
		w.must(os.Chmod(n.dir, 0o700))
	}
	w.nodes = append(w.nodes, n)
	n.start()
}

func (n *node) start() {
	w := n.w
	rules := store.DefaultRules()
	rules.Custody, rules.HomeGrace = custody, time.Minute // so that units go from station to station
	n.way = w.common.Node()
	srv, err := central.New(context.Background(), central.Config{
		DataDir: n.dir, Common: n.way, CA: w.ca, Rules: rules, SweepInterval: 5 * time.Second, StopGrace: time.Millisecond,
		UserPINRecipients: []*x509.Certificate{w.recipient.cert}, SOPINRecipients: []*x509.Certificate{w.recipient.cert, w.officer.cert},
	})
	w.must(err)
	srv.Work()
	n.server = srv
}

// stop ends the node; what it was answering is lost. One that is killed leaves the store as it is.
func (n *node) stop(kill bool) {
	srv := n.server
	n.server = nil
	if srv == nil {
		return
	}
	if kill {
		n.way.Lose()
	}
	n.w.must(srv.Close())
}

// up are the nodes that work; there is always one.
func (w *world) up() (up []*node) {
	for _, n := range w.nodes {
		if n.server != nil {
			up = append(up, n)
		}
	}
	return up
}

func (w *world) nodeAt(host string) *node {
	for _, n := range w.nodes {
		if n.name == host {
			return n
		}
	}
	return nil
}

// admin calls an operation of the administration at one of the nodes; into may be nil. It
// gives the status.
func (w *world) admin(method, path string, body, into any) int {
	srv := anyOf(w, w.up()).server
	data, err := json.Marshal(body)
	w.must(err)
	req := httptest.NewRequest(method, srv.AdminURL()+path, bytes.NewReader(data))
	if body == nil {
		req = httptest.NewRequest(method, srv.AdminURL()+path, nil)
	}
	req.Header.Set("Authorization", "Bearer "+srv.AdminToken())
	req.Header.Set("Content-Type", "application/json")
	rec := httptest.NewRecorder()
	srv.AdminHandler().ServeHTTP(rec, req)
	if into != nil {
		if rec.Code >= 300 {
			w.must(fmt.Errorf("%s %s: %d %s", method, path, rec.Code, rec.Body))
		}
		w.must(json.Unmarshal(rec.Body.Bytes(), into))
	}
	return rec.Code
}
