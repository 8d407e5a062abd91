package console

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
)

// who may take a route, as kinds.
const (
	nobody = iota // a policy that was forgotten
	anyone
	holder
	signed
)

// policy says who may take a route. The zero value says nothing, and keeps the server from
// starting.
type policy struct {
	kind  int
	roles []Role
	// again says that what it leads to is asked for again before it is done.
	again bool
}

// open is for what holds nothing of the station.
func open() policy { return policy{kind: anyone} }

// withLink is for whoever has a link's secret, which the route itself takes.
func withLink() policy { return policy{kind: holder} }

// signedIn is for a session whose person has one of the roles.
func signedIn(roles ...Role) policy { return policy{kind: signed, roles: roles} }

// handler serves a request that was let in; s is nil where the policy needs no session.
type handler func(w http.ResponseWriter, r *http.Request, s *session)

// route is one thing that can be asked of the page.
type route struct {
	method, path string
	policy       policy
	// changes says that something is another way afterwards: never by GET.
	changes bool
	serve   handler
}

// routes are all there are.
func (c *Console) routes() []route {
	all := Roles()
	return []route{
		{http.MethodGet, "/{$}", open(), false, c.shell},
		{http.MethodGet, "/assets/{name}", open(), false, c.asset},
		{http.MethodPost, "/session", withLink(), true, c.openSession},
		{http.MethodPost, "/lock", signedIn(all...), true, c.lock},
		{http.MethodPost, "/present", signedIn(all...), true, c.present},
		{http.MethodPost, "/language", signedIn(all...), true, c.chooseLanguage},
		{http.MethodPost, "/act/cancel", signedIn(all...), true, c.cancelAct},
		{http.MethodPost, "/labels/print", signedIn(labellers()...), true, c.printLabel},
		{http.MethodPost, "/labels/confirm", signedIn(labellers()...), true, c.confirmLabel},
		{http.MethodGet, "/live/bays", signedIn(all...), false, c.live(c.bays)},
		{http.MethodGet, "/live/queue", signedIn(all...), false, c.live(c.queue)},
		{http.MethodGet, "/live/quarantine", signedIn(all...), false, c.live(c.quarantine)},
		{http.MethodPost, "/quarantine/wipe", again(signedIn(deciders()...)), true, c.asks(ofJob(c.wipeAct))},
		{http.MethodPost, "/quarantine/release", again(signedIn(deciders()...)), true, c.asks(ofJob(c.releaseAct))},
		{http.MethodGet, "/live/stock", signedIn(all...), false, c.live(c.stock)},
		{http.MethodGet, "/live/teach", signedIn(all...), false, c.live(c.teach)},
		{http.MethodPost, "/teach", signedIn(teachers()...), true, c.doTeach},
		{http.MethodGet, "/live/station", signedIn(all...), false, c.live(c.station)},
		{http.MethodGet, "/live/order/{asked}", signedIn(all...), false, c.of(c.order)},
		{http.MethodGet, "/live/search/{asked}", signedIn(all...), false, c.of(c.search)},
		{http.MethodGet, "/live/today", signedIn(all...), false, c.of(c.today)},
		{http.MethodGet, "/live/packing", signedIn(RolePacker, RoleSupervisor, RoleAuditor), false, c.live(c.packing)},
		{http.MethodPost, "/packing", signedIn(RolePacker), true, c.pack},
		{http.MethodGet, "/live/mailers", signedIn(RoleMailer, RoleSupervisor, RoleAuditor), false, c.live(c.mailers)},
		{http.MethodPost, "/mailers", signedIn(RoleMailer), true, c.confirm},
		{http.MethodPost, "/mailers/print", again(signedIn(RoleMailer)), true, c.asks(c.printAct)},
	}
}

// checkRoute says what is wrong with a route, before any server starts.
func checkRoute(r route) error {
	var errs []error
	switch r.policy.kind {
	case anyone, holder:
		if len(r.policy.roles) > 0 {
			errs = append(errs, errors.New("roles without a session"))
		}
	case signed:
		if len(r.policy.roles) == 0 {
			errs = append(errs, errors.New("no role may take it"))
		}
		for _, role := range r.policy.roles {
			if !slices.Contains(Roles(), role) {
				errs = append(errs, fmt.Errorf("the role %q does not exist", role))
			}
		}
	default:
		errs = append(errs, errors.New("it has no policy"))
	}
	if r.method != http.MethodGet && r.method != http.MethodPost {
		errs = append(errs, errors.New("methods are GET and POST"))
	}
	if r.changes != (r.method == http.MethodPost) {
		errs = append(errs, errors.New("POST changes something, GET does not"))
	}
	if r.changes && r.policy.kind == anyone {
		errs = append(errs, errors.New("a change needs somebody who answers for it"))
	}
	if r.policy.again && (r.policy.kind != signed || !r.changes) {
		errs = append(errs, errors.New("only a change by a person can be asked for again"))
	}
	if r.serve == nil {
		errs = append(errs, errors.New("nothing serves it"))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("route %s %s: %w", r.method, r.path, err)
	}
	return nil
}
