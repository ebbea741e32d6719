package issuer

import (
	"html/template"
	"net/http"
	"net/url"
	"strings"
)

var page = template.Must(template.New("").Parse(`<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Who are you?</title><h1>Who are you?</h1><p>This is the issuer of <code>cockpit dev</code>: be whoever you pick.</p>
{{with .Error}}<p role="alert">{{.}}</p>{{end}}
<form method="post" action="pick"><input type="hidden" name="id" value="{{.ID}}">
{{range .People}}<p><button name="as" value="{{.Subject}}">{{.Name}}</button> <code>{{.Subject}}</code></p>
{{end}}</form>
<form method="post" action="pick"><input type="hidden" name="id" value="{{.ID}}">
<p><label>Somebody else: <input name="as" placeholder="account_admin@acme" required></label> <button>Sign in</button></p></form></html>
`))

// shown is a button of the page.
type shown struct{ Subject, Name string }

// show is the page to pick from.
func (s *storage) show(w http.ResponseWriter, r *http.Request) { s.ask(w, r, http.StatusOK, "") }

func (s *storage) ask(w http.ResponseWriter, r *http.Request, status int, wrong string) {
	subjects, err := s.directory.subjects(r.Context())
	var people []shown
	for _, subject := range subjects {
		p, e := s.directory.find(r.Context(), subject)
		if e != nil {
			err = e
			break
		}
		people = append(people, shown{subject, p.name})
	}
	if err != nil {
		http.Error(w, "the database can't be reached", http.StatusServiceUnavailable)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'")
	w.WriteHeader(status)
	_ = page.Execute(w, map[string]any{"ID": r.FormValue("id"), "People": people, "Error": wrong})
}

// picked signs in whoever was picked.
func (s *storage) picked(w http.ResponseWriter, r *http.Request) {
	id := r.FormValue("id")
	p, err := s.directory.find(r.Context(), strings.TrimSpace(r.FormValue("as")))
	if err == nil {
		err = s.directory.admit(r.Context(), p)
	}
	if err == nil {
		err = s.pick(id, p.subject())
	}
	if err != nil {
		s.ask(w, r, http.StatusBadRequest, err.Error())
		return
	}
	http.Redirect(w, r, s.cfg.URL+"/authorize/callback?id="+url.QueryEscape(id), http.StatusSeeOther)
}
