package decode

// parseTime reads an RFC 3339 time as Unix µs; what is finer is cut off.
func parseTime(s string) (micros int64, ok bool) {
	if len(s) < len("2006-01-02T15:04:05Z") || s[4] != '-' || s[7] != '-' || s[10]|0x20 != 't' || s[13] != ':' || s[16] != ':' {
		return 0, false
	}
	year, month, day := number(s[0:4]), number(s[5:7]), number(s[8:10])
	hour, minute, second := number(s[11:13]), number(s[14:16]), number(s[17:19])
	if year < 0 || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) ||
		hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 59 {
		return 0, false
	}
	micros = (days(year, month, day)*86400 + int64(hour*3600+minute*60+second)) * 1e6
	rest := s[19:]
	if rest[0] == '.' {
		n, scale := 1, int64(100_000)
		for ; n < len(rest) && rest[n] >= '0' && rest[n] <= '9'; n++ {
			micros += int64(rest[n]-'0') * scale
			scale /= 10
		}
		if n == 1 || n > 31 {
			return 0, false
		}
		rest = rest[n:]
	}
	switch {
	case len(rest) == 1 && rest[0]|0x20 == 'z':
		return micros, true
	case len(rest) == 6 && (rest[0] == '+' || rest[0] == '-') && rest[3] == ':':
		h, m := number(rest[1:3]), number(rest[4:6])
		if h < 0 || h > 23 || m < 0 || m > 59 {
			return 0, false
		}
		offset := int64(h*3600+m*60) * 1e6
		if rest[0] == '-' {
			offset = -offset
		}
		return micros - offset, true
	}
	return 0, false
}

// number is the value of digits; -1 if they are not all digits.
func number(s string) (n int) {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return -1
		}
		n = n*10 + int(s[i]-'0')
	}
	return n
}

func daysIn(year, month int) int {
	switch month {
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// days is the number of days from 1970-01-01 in the proleptic Gregorian calendar, by Howard Hinnant's days_from_civil.
func days(year, month, day int) int64 {
	if month <= 2 {
		year--
	}
	era := year / 400
	if year < 0 {
		era = (year - 399) / 400
	}
	ofEra := year - era*400
	ofYear := (153*((month+9)%12)+2)/5 + day - 1
	return int64(era)*146097 + int64(ofEra*365+ofEra/4-ofEra/100+ofYear) - 719468
}
