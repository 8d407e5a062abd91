package worker

import (
	"cmp"
	"strings"
	"time"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// Spec says which module a child serves and how.
type Spec struct {
	// Path is the absolute path of the module.
	Path string
	// Program is what a child executes; nil for this same program.
	Program *Program
	// Env is all that the module finds in its environment, save GOMAXPROCS and
	// GOTRACEBACK, which are the child's own. It is no place for secrets.
	Env map[string]string
	// Reserved is what the module gets as pReserved of C_Initialize, mostly "". It
	// shows in the process list, so it is no place for secrets either.
	Reserved string
	// Trust says whose file Path may be, SHA256 (hexadecimal, may be "") what is in it.
	Trust  Trust
	SHA256 string
	// Deadlines bound the calls.
	Deadlines Deadlines
	// MaxProcesses is how many children a Pool gives out at the same time, 0 for no
	// limit. A software token wants one: a second process of SoftHSM does not see the
	// token that the first has initialised.
	MaxProcesses int
	// Refresh is how old an idle child of a Pool may become, 0 for any age. Some modules
	// show a new reader, or find their server again, only in a new process. Nothing is
	// refreshed while a child is on loan: a start can disturb what others are doing.
	Refresh time.Duration
	// Bus is what the children of several Pools have in common, such as one hub; nil for
	// one of a Pool's own.
	Bus *Bus
	// Failed is told of every child that ended by itself (ErrModuleCrashed) or was killed because
	// it did not answer (ErrModuleHung), once; it may be nil and must not block.
	Failed func(*pkcs11.Error)
	// Lock is a file that every child of the instance holds a shared lock on while it
	// lives, or "". A child whose parent was killed brings the call that is under way
	// to its end, and a new Pool of the instance waits for that before it starts one.
	Lock string
}

// Deadlines bound each kind of call. Zero means the default. What takes longer
// is taken for a hung module: its child is killed.
type Deadlines struct {
	// KeyGeneration bounds C_GenerateKeyPair; 180 s by default, as single RSA
	// keys take more than a minute on some chips.
	KeyGeneration time.Duration
	// Init bounds C_InitToken and the start of a child with C_Initialize, which
	// in some modules visits every token there is; 60 s by default.
	Init time.Duration
	// Call bounds everything else; 20 s by default.
	Call time.Duration
}

func (d Deadlines) orDefaults() Deadlines {
	return Deadlines{
		KeyGeneration: cmp.Or(d.KeyGeneration, 180*time.Second),
		Init:          cmp.Or(d.Init, 60*time.Second),
		Call:          cmp.Or(d.Call, 20*time.Second),
	}
}

// of is the bound of one operation.
func (d Deadlines) of(op operation) time.Duration {
	switch op {
	case opGenerateKeyPair:
		return d.KeyGeneration
	case opInit:
		return d.Init
	default:
		return d.Call
	}
}

// environment is a child's whole environment.
func (s Spec) environment() ([]string, error) {
	env := []string{
		// One: what watches the pipe gets it from a call into the module that takes long, and
		// with a second, idle one the runtime would look at each such call fifty thousand times a second.
		"GOMAXPROCS=1",
		"GOTRACEBACK=none",
	}
	for name, value := range s.Env {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.Contains(value, "\x00") {
			return nil, &pkcs11.Error{
				Op: opStart, Kind: pkcs11.ErrModuleUnusable, Detail: "its environment has a malformed variable " + name,
			}
		}
		env = append(env, name+"="+value)
	}
	return env, nil
}
