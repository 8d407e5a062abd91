package provision

import (
	"bytes"
	"math"
	"testing"
)

// finishedJob makes a finished job, as any is.
func finishedJob(t *testing.T, j *Journal, sequence int) *Record {
	t.Helper()
	return pinsIn(t, j, sequence, StateFinished)
}

// A statement is wanted about every finished job whose end has been anchored, and kept once.
func TestStatementsAreWantedOnce(t *testing.T) {
	j, _ := openTestJournal(t)
	first := finishedJob(t, j, 1)
	size, err := j.RecordSize()
	if err != nil {
		t.Fatal(err)
	}
	second := finishedJob(t, j, 2)
	pinsIn(t, j, 3, StateQuarantined)
	wanted, err := j.Unstated(-1, size, 10)
	if err != nil || len(wanted) != 1 || wanted[0].Record.Job.ID != first.Job.ID || wanted[0].N != size-1 || !bytes.Contains(wanted[0].Line, []byte(`"installed"`)) {
		t.Fatalf("wanted: %+v (%v)", wanted, err)
	}
	if early, err := j.Unstated(-1, size-1, 10); err != nil || len(early) != 0 {
		t.Errorf("before it is anchored: %+v (%v)", early, err)
	}
	if rest, err := j.Unstated(wanted[0].N, math.MaxInt64, 10); err != nil || len(rest) != 1 || rest[0].Record.Job.ID != second.Job.ID {
		t.Errorf("after the first: %+v (%v)", rest, err)
	}
	proof, err := j.ProveAct(size, wanted[0].N)
	if err != nil || len(proof) == 0 {
		t.Errorf("proof: %x (%v)", proof, err)
	}
	if id, der, err := j.Statement(first.Job.UnitID()); err != nil || id != first.Job.ID || der != nil {
		t.Errorf("before there is one: %s %x (%v)", id, der, err)
	}
	if err := j.SaveStatement(first.Job.ID, []byte("statement")); err != nil {
		t.Fatal(err)
	}
	if id, der, err := j.Statement(first.Job.UnitID()); err != nil || id != first.Job.ID || string(der) != "statement" {
		t.Errorf("the statement: %s %x (%v)", id, der, err)
	}
	if err := j.SaveStatement(first.Job.ID, []byte("another")); err == nil {
		t.Error("a statement was replaced")
	}
	if err := j.SaveStatement("NOWHERE", []byte("x")); err == nil {
		t.Error("there is no such job")
	}
	size, err = j.RecordSize()
	if err != nil {
		t.Fatal(err)
	}
	wanted, err = j.Unstated(-1, size, 10)
	if err != nil || len(wanted) != 1 || wanted[0].Record.Job.ID != second.Job.ID {
		t.Errorf("then: %+v (%v)", wanted, err)
	}
	if id, der, err := j.Statement("NOWHERE-001"); err != nil || id != "" || der != nil {
		t.Errorf("an unknown unit: %s %x (%v)", id, der, err)
	}
}
