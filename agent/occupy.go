package agent

import (
	"slices"

	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/provision"
)

// entered takes note of the step that a job is in.
func (inv *inventory) entered(t provision.TokenRef, jobID string, step provision.StepName) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	i := inv.instance(t.Module)
	switch {
	case i == nil:
	case step == provision.StepInitialise, step == provision.StepGenerateKey:
		i.long[jobID] = true
	default:
		delete(i.long, jobID)
	}
}

// takenByJobs counts the tokens of unfinished jobs that are here. One that was
// pulled for good does not take its reader's place.
func (i *instanceState) takenByJobs(here []pkcs11.Identity) int {
	n := 0
	for id, job := range i.busy {
		if i.working[job] || slices.Contains(here, id) {
			n++
		}
	}
	return n
}

// setAside keeps a token from being chosen, even after it was taken out. One that is
// held by its slot cannot be known again.
func (inv *inventory) setAside(t provision.TokenRef) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	if i := inv.instance(t.Module); i != nil && t.Identity.Serial != "" && t.Identity.SlotDescription == "" {
		i.aside[t.Identity] = true
	}
}

// moved takes note that a job's token has another identity now.
func (inv *inventory) moved(t provision.TokenRef, jobID string) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	i := inv.instance(t.Module)
	if i == nil || i.busy[t.Identity] == jobID {
		return
	}
	for id, job := range i.busy {
		if job == jobID {
			delete(i.busy, id)
		}
	}
	i.busy[t.Identity] = jobID
}

// occupy gives a token to a job, under the identity that it has now; working says
// whether it is being written from here on.
func (inv *inventory) occupy(t provision.TokenRef, jobID string, working bool) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	i := inv.instance(t.Module)
	if i == nil {
		return
	}
	i.drop(jobID)
	i.busy[t.Identity] = jobID
	if working {
		i.working[jobID] = true
	}
}

// vacate takes a token from a job that has ended; refuse keeps it from being
// chosen again until it was taken out.
func (inv *inventory) vacate(t provision.TokenRef, jobID string, refuse bool) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	i := inv.instance(t.Module)
	if i == nil {
		return
	}
	i.drop(jobID)
	if refuse {
		i.refused[t.Identity] = true
	}
}

// drop forgets a job's hold. What the slots show is stale then: the token's
// identity may have changed under the job.
func (i *instanceState) drop(jobID string) {
	delete(i.long, jobID)
	for id, job := range i.busy {
		if job == jobID {
			delete(i.busy, id)
		}
	}
	if i.working[jobID] {
		i.stale = true
		delete(i.working, jobID)
	}
}

// present reports whether a token is plugged in, and a number that changes
// whenever a token comes or goes in its instance.
func (inv *inventory) present(t provision.TokenRef) (bool, int) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	i := inv.instance(t.Module)
	if i == nil {
		return false, 0
	}
	return slices.Contains(inv.identities(i.slots), t.Identity), i.version
}
