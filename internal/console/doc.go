// Package console is the operator's page: served to browsers on this machine by the
// daemon, and the socket at which accounts of this machine ask for a link to it.
//
// It owns who may see and do what there, its texts in Chinese and English, and how what
// has changed reaches a screen. What the station does it learns through Floor alone; it
// knows no jobs of provision's, no agent, no configuration file and no token.
//
// A request passes these, in this order: Host and Origin are exactly ours; the route has a
// policy; the session's cookie and the token that the page keeps for this origin belong to
// one session, which nobody has locked; the session's person has one of the policy's roles.
// docs/console.md says against whom that is.
package console
