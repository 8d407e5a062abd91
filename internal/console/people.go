package console

import (
	"fmt"
	"os/user"
	"regexp"
	"slices"
	"strconv"
	"sync"
)

// Role is what a person may do here.
type Role string

// Roles.
const (
	RoleWriter     Role = "writer"     // writes keys
	RolePacker     Role = "packer"     // packs parcels
	RoleMailer     Role = "mailer"     // prints and confirms PIN mailers
	RoleSupervisor Role = "supervisor" // decides about quarantined tokens
	RoleAuditor    Role = "auditor"    // only looks
)

// Roles are all of them.
func Roles() []Role { return []Role{RoleWriter, RolePacker, RoleMailer, RoleSupervisor, RoleAuditor} }

// Accounts are users and groups of the operating system, by name.
type Accounts struct{ Users, Groups []string }

// Person is an account of this machine that the kernel has vouched for.
type Person struct {
	UID uint32
	// ID is the account's name, and what the central server is told of who acts.
	ID    string
	Roles []Role
}

// refusal is why somebody gets no link. It goes over the socket and is a sentence there.
type refusal string

// Error implements error.
func (r refusal) Error() string { return string(r) }

const (
	errNoAccount = refusal("this machine knows no such account")
	errNoID      = refusal("the account's name cannot be a person's id (A-Z, a-z, 0-9, . _ @ -; at most 64): use another account")
	errNoRole    = refusal("the account has no role at this station: whoever runs it may give it one under console.roles")
)

// personID is what the central server takes for a person's id.
var personID = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$`) })

// who is the person behind a user id of the system, with the roles that the account has
// now. errNoAccount, errNoID, errNoRole.
func who(uid uint32, roles map[Role]Accounts) (Person, error) {
	u, err := user.LookupId(strconv.FormatUint(uint64(uid), 10))
	if err != nil {
		return Person{}, fmt.Errorf("%w: %w", errNoAccount, err)
	}
	if !personID().MatchString(u.Username) {
		return Person{}, errNoID
	}
	ids, err := u.GroupIds()
	if err != nil {
		return Person{}, fmt.Errorf("groups of %s: %w", u.Username, err)
	}
	p := Person{UID: uid, ID: u.Username}
	for _, role := range Roles() {
		a := roles[role]
		if slices.Contains(a.Users, u.Username) || slices.ContainsFunc(a.Groups, func(name string) bool {
			g, err := user.LookupGroup(name)
			return err == nil && slices.Contains(ids, g.Gid)
		}) {
			p.Roles = append(p.Roles, role)
		}
	}
	if len(p.Roles) == 0 {
		return Person{}, errNoRole
	}
	return p, nil
}
