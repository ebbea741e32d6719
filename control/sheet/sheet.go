// Package sheet is what every CSV file of the cockpit keeps to, lists and the audit log alike: people open them in spreadsheets,
// and a spreadsheet takes some texts for formulas. It owns that rule and nothing else, and can't fail.
package sheet

import "strings"

// Cell is a text as a cell of CSV: what a spreadsheet would take for a formula begins with a quote
// (OWASP, CSV Injection).
func Cell(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r", rune(text[0])) {
		return "'" + text
	}
	return text
}
