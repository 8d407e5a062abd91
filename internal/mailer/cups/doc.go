// Package cups prints one page on a printer of a CUPS that runs on this machine, and
// tells what can be known of it, which is never that the sheet came out.
//
// It owns how a page is handed to lp, what a print server and a queue must be like
// before, and the words for what they answer. It must not know what is on the page, who
// may print it or how often. A page goes to lp by a pipe: never as an argument, and in no
// file but CUPS's own, which are kept in memory.
//
// Up to the moment at which lp is started nothing has been sent, and printing may be tried
// again. From then on the outcome is unknown, whatever lp and CUPS say, until a person has
// seen the sheet: a queue without a driver says "completed" and writes nothing, and a
// printer may drop, tear or repeat what CUPS has long forgotten.
package cups
