// An include that runs back, for the test of the check.
#include "loglinear/layer/front.hpp"
