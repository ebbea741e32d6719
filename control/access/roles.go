package access

import "slices"

// Assignment is a role that the cockpit gives to a person in an account, or in one section of it (0: all).
type Assignment struct {
	Role             Role
	Account, Section int64
}

// Claims are the roles that an issuer vouches for: role → the issuer's organizations that it is held in.
type Claims map[Role][]string

// Effective are a person's grants.
//
// The issuer says who is super admin (under the platform's organization) and who is admin of which account (under that
// account's own organization), never by a role's name alone. Assignments give viewers and section admins; of somebody whom
// the issuer calls admin of the account they narrow what he has there to what they say. They never widen: an assignment as
// account_admin without the issuer's word gives nothing. accounts maps organizations to accounts; platform is the
// platform's organization, and with none nobody is super admin.
func Effective(claims Claims, assignments []Assignment, accounts map[string]int64, platform string) []Grant {
	var grants []Grant
	if platform != "" && slices.Contains(claims[SuperAdmin], platform) {
		grants = append(grants, Grant{Role: SuperAdmin})
	}
	admin := map[int64]bool{}
	for _, org := range claims[AccountAdmin] {
		if account := accounts[org]; account != 0 {
			admin[account] = true
		}
	}
	narrowed := map[int64]bool{}
	for _, a := range assignments {
		narrowed[a.Account] = true
		if a.Role == AccountAdmin && !admin[a.Account] || a.Role == SuperAdmin || a.Role == Product {
			continue
		}
		grants = append(grants, Grant(a))
	}
	for _, org := range claims[AccountAdmin] {
		if account := accounts[org]; account != 0 && !narrowed[account] {
			grants = append(grants, Grant{Role: AccountAdmin, Account: account})
		}
	}
	return grants
}
