// Package mailer makes the letter that brings a user PIN to the holder of a token, apart
// from the token (密码信封): one page as PDF, and a preview in HTML that shows no PIN.
//
// It owns the layout, the words in each language, and the judgement whether a font can
// write every character of a letter. It must not know printers, the journal, orders as
// the central server has them, or what a parcel carries: a Letter has no waybill, no
// phone and no contents of a parcel, so that it can never do for a shipping label.
//
// The page is A4 portrait, folded in a Z to a DL envelope (ISO 269: 110 mm by 220 mm) with
// a window of 90 mm by 45 mm, 20 mm from the left and 15 mm from the bottom edge. Folds
// are at 105 mm and 210 mm. The upper third shows the recipient in the window and nothing
// else; the PIN is in the middle third, which lies face to face with the lower one, inside.
package mailer
