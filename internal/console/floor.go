package console

import "time"

// Floor is what the page shows of its station. Its methods are called several times a
// second, from many goroutines, and must not wait for a token, a disk or the network.
type Floor interface {
	// Bays are the places for tokens, in the order in which they are filled.
	Bays() []Bay
	// Queue are the unfinished jobs that the station has, in any order.
	Queue() []Job
	// Station is the station itself.
	Station() Station
}

// BayState is what a bay is to who stands before it.
type BayState string

// States of a bay.
const (
	BayUnread      BayState = "unread"      // its module cannot be read, or has not been yet
	BayEmpty       BayState = "empty"       // no token is there
	BayBlank       BayState = "blank"       // a token that may be written
	BayWorking     BayState = "working"     // a job is at it: leave it alone
	BayWaiting     BayState = "waiting"     // a job has it, and waits
	BayDone        BayState = "done"        // its key is finished
	BayFailed      BayState = "failed"      // its job failed, the token is as it was
	BayQuarantined BayState = "quarantined" // must not be shipped or used again
	BayUsed        BayState = "used"        // written before, by whom is not known here
	BayRefused     BayState = "refused"     // not written again before it was taken out or somebody decides
	BayUnknown     BayState = "unknown"     // no token profile fits
	BayUnlisted    BayState = "unlisted"    // not among the tokens that were delivered
	BayLabelling   BayState = "labelling"   // its finished token was taken out, and the label is being printed
	BayLabel       BayState = "label"       // that label is to be stuck on and scanned
	BayMixed       BayState = "mixed"       // another token was taken out before it was
)

// bayStates are all of them.
func bayStates() []BayState {
	return []BayState{BayUnread, BayEmpty, BayBlank, BayWorking, BayWaiting, BayDone, BayFailed, BayQuarantined, BayUsed, BayRefused, BayUnknown, BayUnlisted, BayLabelling, BayLabel, BayMixed}
}

// Bay is one place for a token.
type Bay struct {
	// Name says which: the module and, where that has several, the slot. It stays the same.
	Name string
	// Number is what is stuck on the hub there, as it was taught; 0 for not.
	Number int
	// Port is the USB port, such as 1-2.3, where that is known.
	Port  string
	State BayState
	// Token is the serial of the token that is there, "" where it shows none.
	Token string
	// Job is what is or was done with the token; nil for nothing.
	Job *Job
}

// Job is one unit that the station works on.
type Job struct {
	ID, Order, Unit, Company, Product string
	// Sequence is the unit's number in its order, from 1, of Of.
	Sequence, Of int
	// Done is how many units of the order are finished at this station.
	Done int
	Due  time.Time
	// Urgent says that the order goes before others, as far as the central server has told.
	Urgent bool
	// Bay is where its token is, or was last.
	Bay string

	// Running says that it is at work; else it waits for Waiting, or has ended.
	Running bool
	// Step is the step that it is in, Percent how much of the work is behind it.
	Step    string
	Percent int
	// Began is when the step began; zero when that is not known.
	Began time.Time
	// Usually is what the step takes with such tokens as far as it was measured, 0 for never.
	Usually time.Duration
	// Since and Whole are the same of all steps together.
	Since time.Time
	Whole time.Duration
	// Waiting is what it waits for: network, token, lease, person or station.
	Waiting string
	// Hint is the next action, in the words of the daemon; Reason the cause in words.
	Hint, Reason string
}

// Station is the station itself.
type Station struct {
	Name, Version string
	Started       time.Time
	// Tier is where its key is: tpm or file.
	Tier string
	// Servers are the addresses of the central server, Session its session there.
	Servers []string
	Session string
	// Answered is when the central server last answered; zero for never.
	Answered time.Time
	// Ahead is by how much its clock was before ours.
	Ahead time.Duration
	// Drain says that it gives this station no more work; Ending that the daemon ends once
	// no work is left.
	Drain, Ending bool
	// Reports are those that the central server has not taken yet.
	Reports int
	// DiskFree is what is left where the state folder is, in bytes; negative for unknown.
	DiskFree int64
	Modules  []Module
	Alarms   []Alarm
}

// Module is a PKCS#11 module of the station.
type Module struct {
	Name, Path string
	Tokens     int
	// Looked is when it was last looked at; zero for not yet.
	Looked time.Time
	// Fault is why it could not be read then, "" when it could.
	Fault string
}

// Alarm is trouble of the station itself.
type Alarm struct {
	// Code is one of the daemon's.
	Code       string
	Since      time.Time
	Text, Hint string
}
