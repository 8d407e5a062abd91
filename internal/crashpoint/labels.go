package crashpoint

import "path"

// Label names something that is done, with a moment before and a moment after it.
// In the lists a * stands for what differs from one time to the next, such as a
// unit's id; it does not match a slash.
type Label string

// Moments of a label.
const (
	BeforeIt = "before"
	AfterIt  = "after"
)

// What a build with the tag crashpoints reads from its environment.
const (
	// KillAt is where to die: a moment, which time it is passed (from 1) and a label
	// as it is listed, such as "after 2 journal: intent".
	KillAt = "USBKEYD_CRASHPOINT_KILL_AT"
	// Trace is a file to which every moment that is passed is appended as a line: the
	// moment and the label as it is listed, or Unlisted and the label as it is.
	Trace = "USBKEYD_CRASHPOINT_TRACE"
)

// Unlisted marks a label in a trace that no list has.
const Unlisted = "unlisted"

// What usbkeyd writes to its own folder.
const (
	// StateFile is the renaming of a small file to its place.
	StateFile Label = "state file"
	// The rest are commits of the journal: all statements of a transaction have been
	// run before them.
	JournalSchema Label = "journal: schema"
	JournalRoom   Label = "journal: room for a job"
	JournalJob    Label = "journal: job"
	JournalIntent Label = "journal: intent"
	// JournalEnd is a final state, together with the report that the outbox gets.
	JournalEnd Label = "journal: end, outbox: report"
	OutboxSent Label = "outbox: answered"
	// JournalDestroy is the end of a token's PINs at the station.
	JournalDestroy Label = "journal: destroy secrets"
	// JournalRecord is an act of the station itself, JournalAnchor a checkpoint of the
	// record that the central server has signed too.
	JournalRecord Label = "journal: record"
	JournalAnchor Label = "journal: anchor"
	// JournalStatement is the signed statement about a finished key.
	JournalStatement Label = "journal: statement"
	// JournalCompact takes out what nobody needs here any more.
	JournalCompact Label = "journal: compaction"
)

// What a job has a module or a token do; reading and writing alike.
const (
	TokenSlots            Label = "token: slots"
	TokenOpen             Label = "token: open"
	TokenInfo             Label = "token: info"
	TokenInit             Label = "token: initialise"
	TokenLoginSO          Label = "token: SO login"
	TokenLoginUser        Label = "token: user login"
	TokenLogout           Label = "token: logout"
	TokenInitUserPIN      Label = "token: set user PIN"
	TokenSetSOPIN         Label = "token: change SO PIN"
	TokenSetUserPIN       Label = "token: change user PIN"
	TokenObjects          Label = "token: objects"
	TokenGenerateKeyPair  Label = "token: generate key"
	TokenSign             Label = "token: sign"
	TokenWriteCertificate Label = "token: write certificate"
	TokenDestroy          Label = "token: destroy"
	TokenClose            Label = "token: close"
)

// What usbkey-central writes when it starts for the first time: a folder of keys or a
// small file that is renamed to its place, and each step of a database's schema.
const (
	KeyFolder Label = "key folder"
	KeyFile   Label = "key file"
	Schema    Label = "database: schema"
	// AgeFile says how far the store has come, again and again.
	AgeFile Label = "store age file"
)

// What usbkey-central asks of its CA.
const (
	CAIssue  Label = "CA: issue"
	CALookup Label = "CA: look up"
	CARevoke Label = "CA: revoke"
)

// Daemon lists the labels of usbkeyd. The last ones are requests to the central
// server: from before they are sent until the head of the answer is there.
func Daemon() []Label {
	return []Label{
		StateFile, JournalSchema, JournalRoom, JournalJob, JournalIntent, JournalEnd, OutboxSent, JournalDestroy,
		JournalRecord, JournalAnchor, JournalStatement, JournalCompact,
		TokenSlots, TokenOpen, TokenInfo, TokenInit, TokenLoginSO, TokenLoginUser, TokenLogout, TokenInitUserPIN,
		TokenSetSOPIN, TokenSetUserPIN, TokenObjects, TokenGenerateKeyPair, TokenSign, TokenWriteCertificate,
		TokenDestroy, TokenClose,
		"PUT /v1/session", "GET /v1/trust", "POST /v1/claims", "POST /v1/heartbeat", "POST /v1/units/*/release",
		"PUT /v1/escrows/*", "PUT /v1/escrows/*/token", "PUT /v1/units/*/generations/*/csr",
		"GET /v1/units/*/generations/*/certificate", "PUT /v1/units/*/generations/*/result",
		"POST /v1/units/*/adopt", "POST /v1/shipped", "GET /v1/records/*", "PUT /v1/records/*",
		"POST /v1/enrollments", "POST /v1/enrollments/*/proof", "POST /v1/station/renew",
		"PUT /v1/units/*/generations/*/mailer", "PUT /v1/units/*/shipment",
	}
}

// Transactions lists the commits of the central server's store, by what the store
// says that it is doing.
func Transactions() []Label {
	return []Label{
		"record station *", "revoke station *", "open session of station *", "accept order *", "claim for station *",
		"heartbeat of station *", "release unit *", "escrow *", "name the token of escrow *", "bind unit *",
		"intend to issue for unit *", "keep the certificate of unit *", "note that nothing was issued for unit *",
		"note an unknown outcome for unit *", "note that the CA has not decided about unit *", "hold unit *", "take the result of unit *", "sweep",
		"take up the CA", "compare *", "leave intents",
		"flag order *", "cancel order *", "adopt unit *", "ship unit *", "confirm the mailer of unit *", "take back unit *", "drain station *", "reset station *",
		"ask for a decision on unit *", "approve decision *", "note a revocation for unit *",
		"number events", "note what blocks order *", "clear the personal data of order *", "forget old claims",
		"keep the record of station *", "note that the record of station * is forked",
		"invite station *", "challenge station *", "take the proof of enrolment *", "approve station *", "renew station *",
		"grow older", "begin recovery", "recover unit *", "finish recovery",
	}
}

// Operations lists what the central server answers, by the operation's id: from
// before it is looked at until all is done and the answer, if it is short, not sent.
func Operations() []Label {
	return []Label{
		"GetMeta", "GetTrust", "PutSession", "PostClaims", "PostHeartbeat", "PostRelease", "PutEscrow", "PutEscrowToken",
		"PutCsr", "GetCertificate", "PutResult", "PostAdopt", "PutShipment", "PostShipped", "PutMailer", "GetRecord", "PutRecord",
		"PutStation", "ListStations", "PutOrder", "GetOrder", "ListOrders", "ListUnits", "GetUnit", "GetSealedPin", "ListEscrows", "GetSealedSoPin", "ListCertificates", "GetCrl",
		"PutOrderFlags", "PostCancel", "GetUnitHistory", "PostResolve", "PostReissue", "PostReturn", "ListDecisions", "PostDecision",
		"ListEvents", "PutStationDrain", "PostStationReset", "PostStationRevoke", "ListRecords", "ListRecordEntries",
		"PostEnrollment", "PostEnrollmentProof", "PostRenewal", "PostInvitation", "ListEnrollments", "PostApproval",
	}
}

// Central lists the labels of usbkey-central.
func Central() []Label {
	return append(append([]Label{KeyFolder, KeyFile, AgeFile, Schema, CAIssue, CALookup, CARevoke}, Transactions()...), Operations()...)
}

// Listed finds the entry of a list that a label used in the code falls under.
func Listed(list []Label, used Label) (Label, bool) {
	for _, l := range list {
		if ok, err := path.Match(string(l), string(used)); ok && err == nil {
			return l, true
		}
	}
	return "", false
}
