package invites

import (
	_ "embed" // the page's files
	"net/http"

	"github.com/alchemi/cockpit/control/api"
	"github.com/gin-gonic/gin"
)

// pagePath is where a link leads, with the invite's text behind a #: browsers send that to nobody.
const pagePath = "/invite"

var (
	//go:embed page/invite.html
	pageHTML []byte
	//go:embed page/invite.js
	pageScript []byte
	//go:embed page/invite.css
	pageStyle []byte
)

// registerPage mounts the page. It is for everybody: what it shows, it asks the API for.
func registerPage(a *api.API) {
	for path, file := range map[string]struct {
		kind string
		text []byte
	}{pagePath: {"text/html", pageHTML}, pagePath + ".js": {"text/javascript", pageScript}, pagePath + ".css": {"text/css", pageStyle}} {
		a.Engine().GET(path, func(g *gin.Context) {
			g.Header("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'")
			g.Header("X-Content-Type-Options", "nosniff")
			g.Header("Referrer-Policy", "same-origin") // of none, browsers would say that our own form is of no origin
			g.Header("Cache-Control", "no-store")
			g.Data(http.StatusOK, file.kind+"; charset=utf-8", file.text)
		})
	}
}
