// Package sheet is what every CSV file of the cockpit keeps to, lists and the audit log alike: people open them in spreadsheets,
// and a spreadsheet takes some texts for formulas. It owns that rule and nothing else, and can't fail.
//
// Text undoes Cell, for every text: what is exported can be imported.
package sheet

import "strings"

const quote = "'"

// Cell is a text as a cell of CSV: what a spreadsheet would take for a formula begins with a quote
// (OWASP, CSV Injection), and so does a text that would look as if it had got one.
func Cell(text string) string {
	if formula(text) {
		return quote + text
	}
	return text
}

// Text is the text that a cell stands for. A formula that somebody wrote without the quote is what it is.
func Text(cell string) string {
	if strings.HasPrefix(cell, quote) && formula(cell) {
		return cell[len(quote):]
	}
	return cell
}

// formula says whether a text, behind any quotes, begins as a formula does.
func formula(text string) bool {
	rest := strings.TrimLeft(text, quote)
	return rest != "" && strings.ContainsRune("=+-@\t\r", rune(rest[0]))
}
