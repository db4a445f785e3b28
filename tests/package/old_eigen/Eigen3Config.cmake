# Stands for an Eigen that is too old.
add_library(Eigen3::Eigen INTERFACE IMPORTED)
