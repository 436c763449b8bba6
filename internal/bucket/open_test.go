package bucket

import "testing"

func TestVersions(t *testing.T) {
	for version, ok := range map[string]bool{"2.12.0": true, "2.15.2": true, "3.0.0-beta": true, "2.11.99": false, "1.20.0": false, "": false, "2": false, "x.y": false} {
		if err := checkVersion(version); (err == nil) != ok {
			t.Errorf("%q: %v", version, err)
		}
	}
}
