package outgoing

import (
	"net/netip"
	"slices"
)

func prefixes(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(texts))
	for i, t := range texts {
		out[i] = netip.MustParsePrefix(t)
	}
	return out
}

// special are IANA's special-purpose addresses that are not globally reachable, or lead to others: relays and translations
// (6to4, Teredo) have an IPv4 address inside, which could be any. Of IPv6 only 2000::/3 is handed out to the world, so
// that mapped addresses, NAT64, unique local and link-local ones are refused without being here.
var special = prefixes("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24",
	"192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32",
	"2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")

var world = netip.MustParsePrefix("2000::/3")

// never are refused even of a named host: link-local, multicast and unspecified addresses, and where clouds answer machines
// with their credentials.
var never = prefixes("0.0.0.0/8", "169.254.0.0/16", "168.63.129.16/32", "100.100.100.200/32", "224.0.0.0/4", "255.255.255.255/32",
	"::/128", "fe80::/10", "ff00::/8", "fd00:ec2::/32", "fd20:ce::/32", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16")

func within(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}

// global says whether an address is one of the world's.
func global(a netip.Addr) bool {
	return a.Zone() == "" && !within(special, a) && (a.Is4() || world.Contains(a))
}

// private says whether a named host may have the address.
func private(a netip.Addr) bool {
	return a.IsValid() && a.Zone() == "" && !a.Is4In6() && !within(never, a)
}
