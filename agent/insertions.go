package agent

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/provision"
)

// insertionEvery is how often the token is looked for that the packing table waits for.
const insertionEvery = 250 * time.Millisecond

// insertions serves the packing table's wish in the background, if there is one that nobody
// serves yet: it reads the key that is put in. Whoever packs waits for it and is told what
// went wrong; nothing else does.
func (a *Agent) insertions(ctx context.Context, loops *sync.WaitGroup) {
	if wish, err := a.Runner.Journal.Insertion(); err == nil && wish == nil || !a.serving.CompareAndSwap(false, true) {
		return
	}
	loops.Go(func() {
		defer a.serving.Store(false)
		table := provision.Table{Journal: a.Runner.Journal, Now: time.Now}
		if err := table.ServeInsertion(ctx, a.Borrow, insertionEvery); err != nil && ctx.Err() == nil {
			a.log.Warn("a key that was put in for its parcel could not be verified", "error", err)
		}
	})
}

// Borrow implements provision.Borrow: it takes turns with watcher and jobs.
func (a *Agent) Borrow(ctx context.Context, module string, f func(pkcs11.Module) error) error {
	i := a.inventory.instance(module)
	if i == nil {
		return fmt.Errorf("module %q of the token is not in the configuration any more", module)
	}
	m, err := i.Pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer i.Pool.Release(m)
	return f(m)
}
