package api

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"
)

//go:embed docs.html
var docsPage string

// description is the document before operations are registered.
func description(version string) huma.Config {
	c := huma.DefaultConfig("cockpit", version)
	c.CreateHooks = nil // no $schema in answers
	c.DocsPath, c.SchemasPath, c.OpenAPIPath = "", "", ""
	c.NoFormatFallback = false
	c.Info.Description = "From here companies govern their AI products. Amounts are decimal strings, times RFC 3339 in UTC, ids opaque; " +
		"wherever a path takes an id it takes key: and the object's key as well. Errors are problem details (RFC 9457) with a stable code."
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"bearer":  {Type: "http", Scheme: "bearer", Description: "An access token of the issuer, or a service key (ck_…)."},
		"session": {Type: "apiKey", In: "cookie", Name: "__Host-cockpit", Description: "The cookie of somebody who signed in, with X-CSRF-Token where something is changed."},
	}
	c.Transformers = []huma.Transformer{func(h huma.Context, _ string, v any) (any, error) {
		if p, ok := v.(*Problem); ok { // of huma's own
			p.RequestID = requestID(h)
		}
		return v, nil
	}}
	return c
}

// Document is the OpenAPI document of what was registered, as it is committed.
func (a *API) Document() ([]byte, error) {
	text, err := json.Marshal(a.huma.OpenAPI())
	if err != nil {
		return nil, fmt.Errorf("write the OpenAPI document: %w", err)
	}
	var b bytes.Buffer
	if err := json.Indent(&b, text, "", " "); err != nil {
		return nil, err
	}
	return append(b.Bytes(), '\n'), nil
}

// describe mounts the document and its page. Both are for everybody: they say nothing of anybody. They are made once, at the
// first request, when all operations are registered.
func (a *API) describe() {
	document := sync.OnceValues(a.Document)
	a.engine.GET("/openapi.json", func(g *gin.Context) {
		text, err := document()
		if err != nil {
			a.stop(g, err)
			return
		}
		g.Data(http.StatusOK, "application/json", text)
	})
	page := sync.OnceValues(func() ([]byte, error) {
		var b bytes.Buffer
		err := template.Must(template.New("docs").Parse(docsPage)).Execute(&b, a.chapters())
		return b.Bytes(), err
	})
	a.engine.GET("/docs", func(g *gin.Context) {
		text, err := page()
		if err != nil {
			a.stop(g, err)
			return
		}
		g.Header("Content-Security-Policy", "default-src 'none'; style-src 'self'; frame-ancestors 'none'")
		g.Header("X-Content-Type-Options", "nosniff")
		g.Header("Referrer-Policy", "no-referrer")
		g.Data(http.StatusOK, "text/html; charset=utf-8", text)
	})
	a.engine.GET("/docs.css", func(g *gin.Context) { g.Data(http.StatusOK, "text/css; charset=utf-8", docsStyle) })
}

//go:embed docs.css
var docsStyle []byte

// sample is a request for curl.
type sample struct {
	Lang   string `json:"lang"`
	Label  string `json:"label"`
	Source string `json:"source"`
}

func (a *API) samples(op *Operation) (samples []sample) {
	for _, e := range op.Examples {
		var b strings.Builder
		fmt.Fprintf(&b, "curl -H \"Authorization: Bearer $(cockpit token --as %s)\"", e.As)
		if op.Method != http.MethodGet {
			fmt.Fprintf(&b, " -X %s", op.Method)
		}
		for _, name := range slices.Sorted(maps.Keys(e.Header)) {
			fmt.Fprintf(&b, " -H '%s: %s'", name, e.Header[name])
		}
		switch {
		case e.Body != "" && e.Header["Content-Type"] != "":
			fmt.Fprintf(&b, " --data-binary '%s'", e.Body)
		case e.Body != "":
			fmt.Fprintf(&b, " --json '%s'", e.Body)
		}
		fmt.Fprintf(&b, " \"$API%s\"", e.Path)
		samples = append(samples, sample{"shell", e.As, b.String()})
	}
	return samples
}

// chapter is a tag's operations on the page.
type chapter struct {
	Name       string
	Operations []described
}

type described struct {
	*Operation
	Parameters []*huma.Param
	Body       []property
	Answer     []property
	Errors     []int
	Samples    []sample
}

// property is a field of a body on the page.
type property struct {
	Name, Type, Doc string
	Required        bool
}

func (a *API) chapters() (chapters []chapter) {
	document := a.huma.OpenAPI()
	for _, op := range slices.Concat(a.operations, a.elsewhere) {
		item := document.Paths[op.Path]
		o := map[string]*huma.Operation{http.MethodGet: item.Get, http.MethodPost: item.Post, http.MethodPut: item.Put,
			http.MethodPatch: item.Patch, http.MethodDelete: item.Delete}[op.Method]
		d := described{Operation: op, Parameters: o.Parameters, Samples: a.samples(op), Errors: o.Errors}
		if o.RequestBody != nil {
			d.Body = a.properties(o.RequestBody.Content["application/json"], "")
		}
		if r := o.Responses[fmt.Sprint(op.Status)]; r != nil {
			d.Answer = a.properties(r.Content["application/json"], "")
		}
		if i := slices.IndexFunc(chapters, func(c chapter) bool { return c.Name == op.Tag }); i >= 0 {
			chapters[i].Operations = append(chapters[i].Operations, d)
		} else {
			chapters = append(chapters, chapter{op.Tag, []described{d}})
		}
	}
	return chapters
}

func (a *API) properties(m *huma.MediaType, prefix string) (properties []property) {
	if m == nil || m.Schema == nil {
		return nil
	}
	return a.fields(m.Schema, prefix)
}

func (a *API) fields(s *huma.Schema, prefix string) (properties []property) {
	if s.Ref != "" {
		s = a.huma.OpenAPI().Components.Schemas.SchemaFromRef(s.Ref)
	}
	if s.Type == huma.TypeArray && s.Items != nil {
		return a.fields(s.Items, strings.TrimSuffix(prefix, ".")+"[].")
	}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		f := s.Properties[name]
		inner := f
		if f.Ref != "" {
			inner = a.huma.OpenAPI().Components.Schemas.SchemaFromRef(f.Ref)
		}
		properties = append(properties, property{prefix + name, strings.TrimSpace(inner.Type + " " + inner.Format), f.Description, slices.Contains(s.Required, name)})
		if inner.Type == huma.TypeObject || inner.Type == huma.TypeArray {
			properties = append(properties, a.fields(inner, prefix+name+".")...)
		}
	}
	return properties
}
