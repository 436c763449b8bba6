package bucket_test

import (
	"testing"

	"github.com/natsorm/natsorm/internal/testbed"
)

func TestMain(m *testing.M) { testbed.Main(m) }
