package scopes

import (
	"context"
	"strconv"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/imports"
	"github.com/alchemi/cockpit/control/jobs"
	"github.com/jackc/pgx/v5"
)

const (
	importsPath = sectionPath + "/imports/"
	exportsPath = sectionPath + "/exports/"
	dryRun      = "?dry_run=true"
)

// RegisterFiles adds the imports of a section's tree and of its memberships, and the exports that they read.
func RegisterFiles(a *api.API, j *jobs.Jobs) {
	imports.Register[*treePlan, imports.OfSection](a, j, treeFiles, imports.Doc{Path: importsPath + "teams", Summary: "Add, change and move organizations and teams from a file", Tag: "Teams",
		Permission: access.DirectoryWrite, Description: imports.Rules + "Columns: kind: organization or team, and key (both required); name; parent: organization: and its key, or empty for the account; state: " +
			"active, or inactive, which needs that nothing stands below it. In any order: what the file adds may stand below what it adds. A new one needs a name.",
		Example: api.Example{As: asAdmin, Path: ofAcme + "/imports/teams" + dryRun, Body: "kind,key,name,parent\nteam,quality,Quality,organization:labs\norganization,labs,Labs,organization:eng\n"}})
	imports.Register[memberPlan, imports.OfSection](a, j, memberFiles, imports.Doc{Path: importsPath + "memberships", Summary: "Make and end memberships from a file", Tag: "Memberships",
		Permission: access.DirectoryWrite, Description: imports.Rules + "Columns: user, the user's key, and parent: team: or organization: and its key, or empty for the account (both required); primary: true, " +
			"where it shall be the user's primary one from now on; state: ended, where it shall end.",
		Example: api.Example{As: asAdmin, Path: ofAcme + "/imports/memberships" + dryRun, Body: "user,parent,primary\nu-3,team:support,true\nu-4,organization:eng,\n"}})
	imports.RegisterExport[api.SectionPath](a, imports.Export{Name: "teams", Path: exportsPath + "teams.csv", Summary: "All organizations and teams of a section, as a file", Tag: "Teams",
		Permission: access.DirectoryRead, Description: "Organizations come first." + imports.Again, Columns: treeColumns, Write: writeTree,
		Example: api.Example{As: asAdmin, Path: ofAcme + "/exports/teams.csv"}})
	imports.RegisterExport[api.SectionPath](a, imports.Export{Name: "memberships", Path: exportsPath + "memberships.csv", Summary: "All memberships of a section that last, as a file", Tag: "Memberships",
		Permission: access.DirectoryRead, Description: "By user." + imports.Again, Columns: memberColumns, Write: writeMembers,
		Example: api.Example{As: asAdmin, Path: ofAcme + "/exports/memberships.csv"}})
}

// writeTree writes a line for each organization and team of the section.
func writeTree(ctx context.Context, c *api.Call, tx pgx.Tx, w *imports.Writer) error {
	rows, err := tx.Query(ctx, `SELECT s.kind, s.key, coalesce(s.name, s.key), coalesce(o.kind, ''), coalesce(o.key, ''), p.scope_id IS NOT NULL
		FROM scopes s LEFT JOIN scope_parents p ON p.account_id = s.account_id AND p.scope_id = s.id AND p.valid_to = 'infinity' `+parentTables+`
		WHERE s.account_id = $1 AND s.section_id = $2 AND s.kind IN ('organization', 'team') ORDER BY s.kind, s.key`, c.Account.ID, c.Section.ID)
	if err != nil {
		return err
	}
	var kind, key, name, parentKind, parentKey string
	var active bool
	_, err = pgx.ForEachRow(rows, []any{&kind, &key, &name, &parentKind, &parentKey, &active}, func() error {
		state := "inactive"
		if active {
			state = "active"
		}
		return w.Line(kind, key, name, ref(parentKind, parentKey), state)
	})
	return err
}

// writeMembers writes a line for each membership of the section that lasts.
func writeMembers(ctx context.Context, c *api.Call, tx pgx.Tx, w *imports.Writer) error {
	rows, err := tx.Query(ctx, `SELECT u.key, coalesce(o.kind, ''), coalesce(o.key, ''), m.membership_id IS NOT NULL FROM `+membershipTables+` WHERE `+membershipOf+` ORDER BY u.key, s.id`,
		c.Account.ID, c.Section.ID)
	if err != nil {
		return err
	}
	var user, kind, key string
	var primary bool
	_, err = pgx.ForEachRow(rows, []any{&user, &kind, &key, &primary}, func() error {
		return w.Line(user, ref(kind, key), strconv.FormatBool(primary), "active")
	})
	return err
}
