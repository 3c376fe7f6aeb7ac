gradus opt
