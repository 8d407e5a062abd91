package central

import (
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/api/adminserver"
	"github.com/usbkeyd/usbkeyd/api/stationserver"
	"github.com/usbkeyd/usbkeyd/internal/central/contract"
)

// Every operation of the document has a policy on the listener of its tag, and
// nobody but the caller of that listener may call it. What is open is listed here.
func TestEveryRouteHasAPolicy(t *testing.T) {
	t.Parallel()
	rules, err := contract.Load()
	if err != nil {
		t.Fatal(err)
	}
	open := map[string]bool{"GetMeta": true, "PostEnrollment": true, "PostEnrollmentProof": true}
	s := &Server{}
	tables := map[string]map[string]policy{"station": s.stationPolicies(), "admin": s.adminPolicies()}
	callers := map[string]caller{"station": aStation, "admin": anAdmin}
	seen := 0
	for _, op := range rules.Operations() {
		table, ok := tables[op.Tag]
		if !ok {
			t.Errorf("%s has the tag %q, which no listener serves", op.ID, op.Tag)
			continue
		}
		p, ok := table[op.ID]
		if !ok {
			t.Errorf("%s %s (%s) has no policy", op.Method, op.Path, op.ID)
			continue
		}
		seen++
		want := callers[op.Tag]
		if open[op.ID] {
			want = anybody
		}
		if op.ID == "PostRenewal" {
			want = aStationOnce
		}
		if p.caller != want {
			t.Errorf("%s may be called by %d, want %d", op.ID, p.caller, want)
		}
		if p.limit > largeBody {
			t.Errorf("%s reads up to %d bytes", op.ID, p.limit)
		}
	}
	if total := len(tables["station"]) + len(tables["admin"]); seen != total {
		t.Errorf("%d operations have a policy, but there are %d policies", seen, total)
	}
}

// A route that slips through without a policy keeps the server from starting.
func TestRegistrationNeedsAPolicy(t *testing.T) {
	t.Parallel()
	rules, err := contract.Load()
	if err != nil {
		t.Fatal(err)
	}
	station, admin := (&Server{}).stationPolicies(), (&Server{}).adminPolicies()
	without := func(id string) map[string]policy {
		m := maps.Clone(station)
		delete(m, id)
		return m
	}
	with := func(id string, p policy) map[string]policy {
		m := maps.Clone(station)
		m[id] = p
		return m
	}
	rows := []struct {
		name     string
		policies map[string]policy
		register func(*router)
		want     string
	}{
		{"all is well", station, func(*router) {}, ""},
		{"an operation without a policy", without("PutCsr"), func(*router) {}, "(PutCsr) has no policy"},
		{"a policy that allows nobody", with("PutCsr", policy{limit: 1}), func(*router) {}, "(PutCsr) has no policy"},
		{"a body without a limit", with("PutCsr", policy{caller: aStation}), func(*router) {}, "how large a body may be"},
		{"a limit without a body", with("GetTrust", policy{caller: aStation, limit: 1}), func(*router) {}, "or it has none"},
		{"a policy for nothing", with("PutNothing", policy{caller: aStation}), func(*router) {}, "policy for PutNothing, but no route"},
		{"a route of our own", station, func(rt *router) {
			rt.HandleFunc("GET /v1/debug", func(http.ResponseWriter, *http.Request) {})
		}, "GET /v1/debug is not in the OpenAPI document"},
		{"the other listener's route", station, func(rt *router) {
			rt.HandleFunc("GET /v1/orders", func(http.ResponseWriter, *http.Request) {})
		}, "(ListOrders) has no policy"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			rt := newRouter(rules, row.policies, nil)
			stationserver.HandlerWithOptions(stationserver.NewStrictHandler(&stationAPI{}, nil), stationserver.StdHTTPServerOptions{BaseURL: basePath, BaseRouter: rt})
			row.register(rt)
			err := rt.finish()
			if (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %q", err, row.want)
			}
		})
	}
	rt := newRouter(rules, admin, nil)
	adminserver.HandlerWithOptions(adminserver.NewStrictHandler(&adminAPI{}, nil), adminserver.StdHTTPServerOptions{BaseURL: basePath, BaseRouter: rt})
	if err := rt.finish(); err != nil {
		t.Error(err)
	}
}

// Every problem type of the contract has a status and a title of its own.
func TestEveryProblemTypeIsMapped(t *testing.T) {
	t.Parallel()
	rules, err := openapi3.NewLoader().LoadFromData([]byte(api.Document))
	if err != nil {
		t.Fatal(err)
	}
	titles := make(map[string]api.ProblemType)
	for _, v := range rules.Components.Schemas["ProblemType"].Value.Enum {
		pt := api.ProblemType(v.(string))
		k := kindOf(pt)
		if other, taken := titles[k.title]; taken {
			t.Errorf("%s and %s look alike: one of them is not mapped", pt, other)
		}
		titles[k.title] = pt
		if k.status < 400 || k.status > 599 {
			t.Errorf("%s has status %d", pt, k.status)
		}
	}
}

// What the document says beside its schemas is what the server does: who may call, how large a
// body may be, and what a problem type looks like.
func TestTheDocumentSaysWhatTheServerDoes(t *testing.T) {
	t.Parallel()
	doc, err := openapi3.NewLoader().LoadFromData([]byte(api.Document))
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{}
	policies := s.stationPolicies()
	maps.Copy(policies, s.adminPolicies())
	callers := map[any]caller{"anybody": anybody, "station-expired": aStationOnce, "station": aStation, "admin": anAdmin}
	n := 0
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			n++
			p := policies[strings.ToUpper(op.OperationID[:1])+op.OperationID[1:]]
			var who any = op.Tags[0]
			if other, ok := op.Extensions["x-caller"]; ok {
				who = other
			}
			if callers[who] != p.caller {
				t.Errorf("%s %s: the document says %v may call it, the server's policy is %d", method, path, who, p.caller)
			}
			if kib, _ := op.Extensions["x-max-body-kib"].(float64); int64(kib)<<10 != p.limit {
				t.Errorf("%s %s: the document says %v KiB, the server takes %d bytes", method, path, kib, p.limit)
			}
		}
	}
	if n != len(policies) {
		t.Errorf("%d operations, %d policies", n, len(policies))
	}
	kinds := doc.Components.Schemas["ProblemType"].Value
	said, _ := kinds.Extensions["x-problems"].(map[string]any)
	for _, v := range kinds.Enum {
		pt := api.ProblemType(v.(string))
		row, _ := said[shortType(pt)].(map[string]any)
		if k := kindOf(pt); row["status"] != float64(k.status) || row["retryable"] != k.retryable {
			t.Errorf("%s is %v in the document, at the server %+v", pt, row, k)
		}
	}
}

func TestLeaseFollowsTheWorstKeyGeneration(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name  string
		base  time.Duration
		worst []int
		want  time.Duration
	}{
		{"no slots", 2 * time.Minute, nil, 2 * time.Minute},
		{"quick tokens", 2 * time.Minute, []int{1}, 2 * time.Minute},
		{"the slowest of all and a minute", 2 * time.Minute, []int{30, 90, 20}, 150 * time.Second},
		{"short, for trials", 4 * time.Second, []int{1}, 4 * time.Second},
		{"short, but never shorter than the key generation", 4 * time.Second, []int{30}, 32 * time.Second},
		{"the floor", 2 * time.Second, []int{1}, 2 * time.Second},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			var slots []api.SlotCapability
			for _, w := range row.worst {
				slots = append(slots, api.SlotCapability{WorstKeyGenerationSeconds: w})
			}
			s := &Server{cfg: Config{LeaseBase: row.base}}
			if got := s.leaseLength(slots); got != row.want {
				t.Errorf("got %s, want %s", got, row.want)
			}
		})
	}
}
