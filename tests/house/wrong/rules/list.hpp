using Rules = detail::TypeList<RetNet, Unheard>;
