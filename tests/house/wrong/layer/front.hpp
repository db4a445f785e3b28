// What rules/back.hpp must not include.
